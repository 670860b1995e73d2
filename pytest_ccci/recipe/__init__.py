"""What a recipe is: its source, releases, environment, compose facts and recipe.toml. No Docker, no pytest."""
