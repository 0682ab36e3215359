"""Asks an AWS account, before anything is made in it, whether a stack fits into it. Reads only, and dry runs."""
