"""What a server must bear for hours, asked in minutes: crowds, nonsense, hang-ups and killed processes."""
