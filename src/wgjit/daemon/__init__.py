"""The gateway as a process: the one place where the core's commands become effects.

| module            | what is inside                                             |
| ----------------- | ---------------------------------------------------------- |
| `loop`            | a command becomes an effect                                |
| `stages`          | the loop's clock, and how long each stage of a knock took  |
| `lifecycle`       | one interface: from nothing to a running gateway, and back |
| `core_settings`   | what the operator configured, as the core takes it         |
| `process`         | the process around the gateways                            |
| `device_work`     | what the loop does to the device                           |
| `registry_watch`  | claims to the registry, other processes' changes from it   |
| `interface_watch` | is the interface still the one that is served?             |
| `open_store`      | the store that the configuration names                     |
| `control`         | the gateway's side of its control socket                   |
| `feed`            | every record to every listener                             |
| `metrics`         | what the gateway counts                                    |
| `notices`         | what the core has to say that no packet waits for          |
| `faults`          | broken machinery, told once                                |
| `alarm`           | one timer for a moving deadline                            |
"""
