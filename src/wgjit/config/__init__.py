"""The settings, from files, environment and command line.

    [interface]
    private_key_file = "/etc/wgjit/wg0.key"
    listen_port = 51820
    addresses = ["10.8.0.1/16", "fd00:8::1/64"]

An interface that exists already is used as it stands: key, port, addresses and peers stay as they are.

| module        | what is in it                                                          |
| ------------- | ---------------------------------------------------------------------- |
| `settings`    | the sections: each setting, its range and meaning                      |
| `addresses`   | addresses and networks of either family, as settings                   |
| `locate`      | finds the file of an interface                                         |
| `validation`  | the errors of settings, as pydantic passes them on                     |
| `files`       | the settings in a file, for one interface or several                   |
| `positions`   | finds the line of a value in a file                                    |
| `environment` | the settings in environment variables                                  |
| `layers`      | puts settings over one another, and tells where a mistake is           |
| `together`    | finds what two interfaces cannot share                                 |
| `loading`     | loads all settings of an interface, or of several                      |
| `checks`      | finds further mistakes before a start                                  |
| `reference`   | the explanations of the settings, for people                           |
| `key_file`    | reads the private key from its file; says why a file cannot be read    |
| `folders`     | the default folders of wgjit's files                                   |
"""

from wgjit.config.folders import CONFIG_FOLDER, RUN_FOLDER, STATE_FOLDER, run_folder
from wgjit.config.key_file import read_private_key
from wgjit.config.loading import Loaded, load, load_all, load_config
from wgjit.config.locate import config_path, listed_interfaces
from wgjit.config.settings import (
    ApiSettings,
    ClientSettings,
    Config,
    GatewaySettings,
    InterfaceSettings,
    PoolSettings,
    RoutesSettings,
    StoreSettings,
)

__all__ = [
    "CONFIG_FOLDER",
    "RUN_FOLDER",
    "STATE_FOLDER",
    "ApiSettings",
    "ClientSettings",
    "Config",
    "GatewaySettings",
    "InterfaceSettings",
    "Loaded",
    "PoolSettings",
    "RoutesSettings",
    "StoreSettings",
    "config_path",
    "listed_interfaces",
    "load",
    "load_all",
    "load_config",
    "read_private_key",
    "run_folder",
]
