"""Signs the visitors of an agent in with codes by e-mail: what another team copies."""
