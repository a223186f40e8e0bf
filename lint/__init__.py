"""Our own small checks, for the house rules that no general tool knows. Run them with `python -m lint`.

`text` looks at any file of ours, `code` at the syntax tree of Python files, `settings` at what the documentation says
of each setting. A rule is a function from a file to findings; tests/unit/test_house_rules.py shows each one at work.
"""
