"""`penstock upgrade plan`: in which order versions move, one reviewed edit at a time, and what each edit disrupts."""
