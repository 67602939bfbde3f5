"""The gateway's process: it turns the core's commands into effects.

| module            | what is inside                                                          |
| ----------------- | ----------------------------------------------------------------------- |
| `loop`            | reads packets, hands events to the core, performs the core's commands   |
| `stages`          | the loop's clock, and how long each stage of a knock took               |
| `lifecycle`       | starts and ends the gateway on one interface                            |
| `core_settings`   | makes the core's settings from the configuration                        |
| `process`         | the process around the gateways                                         |
| `leaving`         | a gateway leaves, comes back, and says whether it is fit to serve       |
| `effects`         | how the loop performs commands that take more than a call               |
| `registry_watch`  | saves claims, and reads the registry's changes                          |
| `interface_watch` | notices when the interface changes or is gone                           |
| `open_store`      | opens the store that the configuration names                            |
| `control`         | the gateway's side of its control socket                                |
| `feed_hub`        | gives every record to every listener of the feed                        |
| `metrics`         | the gateway's counters                                                  |
| `notices`         | counts and logs for which no packet waits                               |
| `telling`         | what the log says of clients, and of trouble that looks like health     |
| `faults`          | counts all faults, and logs each once                                   |
| `alarm`           | one timer for a moving deadline                                         |
"""
