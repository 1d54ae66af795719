"""What `crosschat doctor` looks at: one module a subject, each check a function that reports what it found."""
