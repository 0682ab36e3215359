"""What a pull request would change: two revisions of the program, Pulumi's own preview, a report by risk."""
