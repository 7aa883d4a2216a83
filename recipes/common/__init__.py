"""What all recipes share: steps that resume, cohorts, fetching, training, metrics, and the page."""
