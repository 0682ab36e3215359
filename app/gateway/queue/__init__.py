"""The waiting room: requests that no engine has room for yet."""
