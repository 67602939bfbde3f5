"""A gateway leaves, comes back, and says whether it is fit to serve.

| module   | what is inside                                                        |
| -------- | --------------------------------------------------------------------- |
| `health` | the checks of a gateway's health                                      |
| `inside` | whether the network behind the gateway can be reached                 |
| `deaf`   | whether packets of clients come to this network namespace at all      |
| `ending` | SIGTERM: the gateways of a fleet drain before they end                |
"""
