"""Long runs whose books must balance: `python tests/soak` has them all, `test_soak.py` a short version of each."""
