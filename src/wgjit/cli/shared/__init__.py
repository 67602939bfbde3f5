"""What several commands share.

| module     | what is inside                                                |
| ---------- | ------------------------------------------------------------- |
| `options`  | option bundles: options that several commands have            |
| `registry` | the options of commands on a registry, and how they open it   |
| `log`      | where commands that serve write their log                     |
"""
