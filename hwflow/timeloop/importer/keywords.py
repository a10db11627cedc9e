"""How Timeloop's own executables read a text before they parse it: words with hyphens, and names of variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hwflow.errors import InputError, shown

# compound-config/hyphens-to-underscores.hpp, in its order: a word that ends in an earlier one, such as network-word-bits, is
# changed by that one first and is then none of these.
HYPHENATED = (
    *("linear_pruned", "problem_space_files", "log_stats", "tile_width", "log_interval", "CNN_Layer", "ordered_accesses"),
    *("router_energy", "tree_like", "arch_space_files", "log_orojenesis_mappings", "penalize_consecutive_bypass_fails"),
    *("emit_whoop_nest", "condition_on", "energy_per_hop", "max_permutations_per_if_visit", "gate_on_zero_operand", "gcc_ar"),
    *("num_ports", "multiple_buffering", "cluster_area", "outer_to_inner", "spatial_skip", "log_all", "wire_energy"),
    *("metadata_word_bits", "optimization_metric", "word_bits", "action_optimization", "cnn_layer", "num_threads"),
    *("arch_space_sweep", "live_status", "step_size", "min_utilization", "network_type", "block_size", "sync_interval"),
    *("log_suboptimal", "representation_format", "flattened_rankIDs", "gemm_ABZ", "arch_spec", "last_level_accesses"),
    *("optimization_metrics", "inner_to_outer", "compression_rate", "filter_revisits", "vector_access_energy"),
    *("rank_application_order", "log_mappings_yaml", "log_mappings_verbose", "log_all_mappings", "read_write"),
    *("fixed_structured", "gcc_ranlib", "adder_energy", "search_size", "victory_condition", "random_pruned", "access_X"),
    *("skipping_spatial", "payload_word_bits", "num_banks", "addr_gen_energy", "cluster_size", "compute_optimization"),
    *("network_word_bits", "data_spaces", "timeloop_metric", "timeloop_metrics", "timeloop_simple_mapper"),
    *("timeloop_design_space", "timeloop_unit_tests"),
)
"""The words that Timeloop reads with hyphens, too, in the spelling that it changes them to."""

_CHANGES = [
    (word.replace("_", "-"), re.compile(rf"\b{word.replace('_', '-')}\b(?!-)(?!>)(?!\.[hc]pp)", re.ASCII), word)
    for word in HYPHENATED
]
_DEPTH = 10


def underscored(text: str) -> str:
    """A file's text with its words spelt as Timeloop's parsers know them."""
    for hyphenated, pattern, word in _CHANGES:
        if hyphenated in text:
            text = pattern.sub(word, text)
    return text


def with_variables(content: Any, variables: Mapping[str, Any], where: str) -> Any:
    """Content in which each value that is the name of a variable is that variable's (`CompoundConfigNode::lookupValue`).

    Items of lists are never looked up there, nor are variables that are not single values.

    Raises:
        InputError: where variables name one another without end.
    """
    if isinstance(content, Mapping):
        return {key: _value(value, variables, where) for key, value in content.items()}
    if isinstance(content, list):
        return [with_variables(item, variables, where) if isinstance(item, (Mapping, list)) else item for item in content]
    return content


def _value(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    for _ in range(_DEPTH):
        if not isinstance(value, str) or value not in variables or isinstance(variables[value], (Mapping, list)):
            return with_variables(value, variables, where)
        value = variables[value]
    raise InputError(f"{where}: variables: {shown(value)} names itself, through others or at once; give it a value.")
