"""What the workflows call besides `penstock`: comments and issues, the linters, the bill of materials."""
