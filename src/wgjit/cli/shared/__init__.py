"""What several commands share.

| module     | what is inside                                                |
| ---------- | ------------------------------------------------------------- |
| `options`  | option bundles: options that several commands have            |
| `groups`   | command groups that behave in another way than typer's own    |
| `registry` | the options that find a registry, and how commands open it    |
| `application` | the command line, as typer has it                          |
| `log`      | the log of the commands that serve (`up`, `api`)              |
"""
