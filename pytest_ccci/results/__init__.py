"""What a run came to: the model, its verdict, its file, its text. Knows neither Docker nor pytest."""
