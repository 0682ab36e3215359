"""All rules of the policy pack, one function each: from a resource, or all of a stack, to what is wrong."""

from __future__ import annotations

from infra.policy.rules_access import (
    databases_are_private,
    node_roles_reach_no_data,
    nodes_answer_metadata_v2_only,
    only_the_edge_is_open,
    policies_of_resources_name_who_may,
    production_keeps_its_api_private,
    roles_name_what_they_may_touch,
    roles_share_one_boundary,
    the_default_group_is_closed,
)
from infra.policy.rules_data import (
    buckets_are_complete,
    buckets_refuse_the_public,
    data_at_rest_names_a_key,
    data_in_transit_is_encrypted,
    databases_are_backed_up,
    everything_is_tagged,
    images_expire,
    keys_rotate,
    logs_are_kept_for_a_set_time,
    production_refuses_deletion,
    trails_cover_every_region,
)
from infra.policy.rules_workloads import (
    containers_are_unprivileged,
    disruption_budgets_let_nodes_go,
    pods_drain_before_they_are_killed,
    production_pins_images,
    target_groups_wait_for_draining_pods,
    weights_make_a_hundred,
)
from infra.policy.subject import Rule, StackRule, Subject

__all__ = ["RULES", "STACK_RULES", "Rule", "StackRule", "Subject"]

RULES: tuple[Rule, ...] = (
    data_at_rest_names_a_key,
    keys_rotate,
    data_in_transit_is_encrypted,
    production_refuses_deletion,
    databases_are_backed_up,
    logs_are_kept_for_a_set_time,
    trails_cover_every_region,
    everything_is_tagged,
    buckets_refuse_the_public,
    roles_name_what_they_may_touch,
    policies_of_resources_name_who_may,
    databases_are_private,
    only_the_edge_is_open,
    the_default_group_is_closed,
    production_keeps_its_api_private,
    nodes_answer_metadata_v2_only,
    weights_make_a_hundred,
    containers_are_unprivileged,
    production_pins_images,
    pods_drain_before_they_are_killed,
    disruption_budgets_let_nodes_go,
)
"""Each sees one resource."""

STACK_RULES: tuple[StackRule, ...] = (
    buckets_are_complete,
    images_expire,
    node_roles_reach_no_data,
    roles_share_one_boundary,
    target_groups_wait_for_draining_pods,
)
"""Each sees all resources of a stack, with what they were made of."""
