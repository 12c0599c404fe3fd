"""What the project costs, measured against its peers. See README.md."""
