"""What is trained and how it is judged: wave data, networks, optimizers, convergence and the trainers."""
