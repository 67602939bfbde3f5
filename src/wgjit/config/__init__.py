"""What wgjit is told by files, environment and command line.

    [interface]
    private_key_file = "/etc/wgjit/wg0.key"
    listen_port = 51820
    addresses = ["10.8.0.1/16", "fd00:8::1/64"]

An interface that exists already is used as it stands: key, port, addresses and peers stay as they are.

| module        | what is in it                                                  |
| ------------- | -------------------------------------------------------------- |
| `settings`    | the sections: each setting, its range and meaning              |
| `addresses`   | addresses and networks of either family, as settings           |
| `locate`      | which file is an interface's                                   |
| `validation`  | what is wrong with a setting, as pydantic hands it on          |
| `files`       | a file's settings, for one interface or several                |
| `positions`   | on which line of it a value is                                 |
| `environment` | settings from variables                                        |
| `layers`      | one over the other, and who made a mistake                     |
| `together`    | what two interfaces cannot share                               |
| `loading`     | all of it, for an interface or several                         |
| `checks`      | what a start would stumble over beyond that                    |
| `reference`   | what the settings' own texts say, for people                   |
| `key_file`    | the interface's private key, from its file                     |
| `folders`     | where wgjit's files are by default                             |
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
    "StoreSettings",
    "config_path",
    "listed_interfaces",
    "load",
    "load_all",
    "load_config",
    "read_private_key",
    "run_folder",
]
