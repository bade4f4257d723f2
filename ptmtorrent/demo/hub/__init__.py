"""The rooms of the sample hub: questions and answers, routes, and the way they travel."""
