"""What tests/unit/cli holds the commands to on a file, on a database. A new test there runs here, too."""

from tests.postgresql.taken import taken
from tests.unit.cli import (
    test_audit,
    test_claim,
    test_comment_names,
    test_file_kinds,
    test_hand_out,
    test_key_names,
    test_peer,
    test_peer_export,
    test_peer_import,
    test_peer_many,
    test_peer_merge,
    test_peer_set,
    test_token,
)

# Tests of the file itself: that it is made or not, and what another program can damage in it.
OF_THE_FILE = {
    test_claim: ["test_no_registry_is_made"],
    test_peer: [
        "test_only_add_and_import_make_a_registry",
        "test_store_option_comes_before_the_environment",
        "test_a_damaged_row_can_be_removed_by_its_key",
    ],
    test_hand_out: ["test_the_store_of_the_configuration", "test_another_interface_has_another_configuration"],
    test_peer_export: [
        "test_the_registry_is_that_of_the_interfaces_configuration",
        "test_an_export_takes_the_place_of_an_older_one_when_it_is_whole",
    ],
}

# Tests of commands and files that open no registry.
WITHOUT_A_REGISTRY = {
    test_key_names: ["test_no_mistake_in_a_configuration_repeats_one", "test_no_command_repeats_one"],
    test_peer_many: ["test_the_shell_is_told_how_to_complete"],
    test_comment_names: [
        "test_forms",
        "test_which_comments_are_a_peers",
        "test_peers_that_are_commented_out_as_disabled_arrive_disabled",
    ],
    test_file_kinds: ["test_the_import_says_what_a_file_is"],
}

for module in (
    test_audit,
    test_claim,
    test_comment_names,
    test_file_kinds,
    test_hand_out,
    test_key_names,
    test_peer,
    test_peer_export,
    test_peer_import,
    test_peer_many,
    test_peer_merge,
    test_peer_set,
    test_token,
):
    globals().update(taken(module, [*OF_THE_FILE.get(module, ()), *WITHOUT_A_REGISTRY.get(module, ())]))
