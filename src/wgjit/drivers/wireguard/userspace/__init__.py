"""wireguard-go, by its socket (the cross-platform userspace API, "UAPI").

| module       | what is inside                                          |
| ------------ | ------------------------------------------------------- |
| `device`     | UserspaceDevice                                         |
| `connection` | the socket                                              |
| `messages`   | the text protocol                                       |
| `dump`       | decodes the text of a crowded device quickly            |
"""
