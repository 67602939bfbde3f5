"""How the loop performs the core's commands, where that takes more than a call.

| module        | what is inside                                                     |
| ------------- | ------------------------------------------------------------------ |
| `device_work` | installs, changes, removals and readings of the device             |
| `route_work`  | routes for residents: put, taken, put back, compared               |
| `fleet_work`  | data that is awaited, and questions to the registry of record      |
| `pinned`      | pinned peers that are to be installed                              |
| `stray_work`  | clients of other gateways whose data comes here                    |
"""
