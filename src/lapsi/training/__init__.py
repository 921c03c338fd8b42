"""How a problem is minimised: by Newton steps to its optimum, or step by step as a recipe says."""
