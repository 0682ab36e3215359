"""What a stack costs in a month, estimated from a dated table of list prices."""
