"""What tests/unit/stores holds the file to, over PostgreSQL: the same functions, with the fixtures of this folder."""

from tests.unit.stores.test_audit import (
    test_a_batch_is_one_entry,
    test_a_change_that_is_undone_leaves_nothing,
    test_a_clock_that_was_set_back_hides_nothing,
    test_pages_newest_first_and_filters,
    test_what_each_change_leaves,
)
from tests.unit.stores.test_bulk import (
    test_a_record_of_the_wrong_size_does_not_get_in,
    test_nobody_waits_for_what_is_only_staged,
    test_what_was_staged_and_not_committed_is_dropped,
)
from tests.unit.stores.test_cover import test_the_registry_tells_it_and_when_to_ask_again
from tests.unit.stores.test_idempotency import (
    test_a_change_that_fails_leaves_no_answer,
    test_a_key_is_its_actors_own,
    test_another_request_with_the_key_can_be_told,
    test_rotating_is_done_once_too,
    test_the_second_time_the_first_answer_comes_and_nothing_else,
)
from tests.unit.stores.test_key_names import (
    test_a_labels_key_is_none_either,
    test_a_token_is_not_named_in_an_error,
    test_no_way_in_takes_one,
)
from tests.unit.stores.test_listing import (
    crowd,
    test_a_cursor_of_another_listing_is_refused,
    test_a_page_goes_on_behind_a_peer_that_was_removed,
    test_every_filter_gives_what_fits_whatever_the_size_of_a_page,
    test_the_order_is_the_documented_one,
    test_the_search_finds_by_what_people_know,
)
from tests.unit.stores.test_peers import (
    test_a_beginning_that_several_keys_have_names_them,
    test_a_peer_is_meant_by_name_key_its_beginning_or_address,
    test_a_rotation_that_fails_changes_nothing,
    test_every_length_of_beginning_means_its_key,
    test_labels_come_and_go_with_their_peer,
    test_remove_all_and_remove_fitting,
    test_rotate_changes_the_key_and_drops_the_claim,
)
from tests.unit.stores.test_pools import (
    test_a_freed_address_that_was_taken_otherwise_is_not_given_out,
    test_a_freed_address_waits_out_its_quarantine,
    test_a_pool_inside_of_one_peers_prefix_is_full,
    test_a_pool_that_is_made_wider_keeps_the_quarantines,
    test_a_refused_peer_takes_no_address,
    test_addresses_come_in_order_and_reserved_ones_never,
    test_ipv6_has_no_broadcast_and_the_very_ends_work,
    test_one_of_each_pool_beside_its_own,
    test_what_was_registered_otherwise_is_stepped_over,
    test_who_was_freed_first_comes_first_and_before_fresh_ones,
)
from tests.unit.stores.test_tokens import (
    test_a_mistake_names_the_field_and_makes_nothing,
    test_a_name_is_never_used_again,
    test_a_token_is_let_in_with_its_scope,
    test_it_expires,
    test_it_is_revoked_for_good,
    test_its_use_is_noted_once_a_minute,
    test_what_is_not_exactly_a_tokens_text_is_not_let_in,
)
