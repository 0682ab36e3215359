"""`penstock doctor`: is this machine, and is this account, as Penstock needs them?"""
