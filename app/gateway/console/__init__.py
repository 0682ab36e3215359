"""The console: one page for operators at /console, its sign-in, its stream, and what a release's runner tells."""
