//! What the program promises to whoever exposes its port, and the tests that hold it to that.

/// A promise of `SECURITY.md` or of the command line's help, and its tests.
type Promise = (&'static str, &'static [&'static str]);

const PROMISES: &[Promise] = &[
    // Attackers.
    (
        "certificates that have expired, are not valid yet, or are of another authority get nobody in",
        &["a_client_certificate_that_is_no_good_is_refused_in_the_handshake"],
    ),
    (
        "a server with a certificate for another name, or of another authority, gets no agent",
        &["an_agent_does_not_take_another_server_for_its_gateway"],
    ),
    (
        "what is revoked by a reload ends: certificates, tokens, tunnels of either direction",
        &[
            "a_revoked_certificate_loses_its_tunnel_and_its_calls_when_the_list_is_read",
            "a_token_that_is_taken_away_ends_what_it_opened_when_its_calls_have_ended",
            "a_forward_tunnel_of_a_token_that_is_taken_away_is_drained_and_noted",
        ],
    ),
    (
        "a token is good for its own rules, and nobody takes the name of another",
        &[
            "a_token_is_good_for_what_its_rule_says_and_nothing_else",
            "nobody_squats_a_name_with_the_token_of_another",
        ],
    ),
    (
        "no header makes anybody another, also through dialled ports and chains of gateways",
        &[
            "headers_make_nobody_another",
            "whoever_uses_a_dialled_port_is_who_dialled",
            "behind_a_chain_of_gateways_a_call_is_the_agents_in_between",
        ],
    ),
    (
        "`authorization` is the local server's, and never read",
        &["the_authorization_of_a_call_belongs_to_the_local_server"],
    ),
    (
        "nobody is made to speak plaintext",
        &[
            "plaintext_is_not_spoken_where_tls_is_and_who_tries_is_told",
            "an_agent_that_wants_tls_does_without_none",
        ],
    ),
    (
        "handshakes that are slow or fail, 10,000 with GRPCTUNNEL_HANDSHAKES=10000, stop nobody",
        &[
            "slow_handshakes_stop_nobody",
            "callers_are_served_while_handshakes_fail",
        ],
    ),
    (
        "a caller cannot tell what it may not call from what is not there",
        &[
            "a_forbidden_name_looks_like_an_unknown_one",
            "the_health_of_a_forbidden_name_is_that_of_an_unknown_one",
        ],
    ),
    // Trust.
    (
        "TLS with certificates of both ends works on every side",
        &["every_side_speaks_tls_with_certificates_of_both_ends"],
    ),
    (
        "certificates, tokens and rules are replaced under load without a failed call, as a whole",
        &["everything_is_replaced_under_load_without_a_failed_call"],
    ),
    (
        "whose credentials are refused gives up with exit code 4, and at that gateway alone",
        &[
            "an_agent_whose_certificate_is_refused_gives_up",
            "an_agent_that_loses_its_name_gives_up_with_a_code_of_its_own",
            "a_gateway_that_refuses_the_token_is_left_alone_and_another_one_served",
        ],
    ),
    (
        "a port beyond loopback needs authentication or --insecure",
        &["listening_beyond_loopback_has_to_be_asked_for"],
    ),
    // Limits.
    (
        "what one identity takes costs no other anything: calls, rate, tunnels, connections, bytes",
        &[
            "open_calls_are_counted_for_each_identity",
            "a_rate_ends_with_when_to_try_again",
            "tunnels_and_connections_are_counted_for_each_identity",
            "while_an_identity_lets_bytes_wait_it_makes_no_new_calls_and_others_do",
        ],
    ),
    (
        "a local server that fails is left alone, and one call finds out whether it is back",
        &["a_local_server_that_fails_again_and_again_is_left_alone_and_tried_again"],
    ),
    (
        "calls are made again as a policy says, and no others",
        &[
            "a_call_that_fails_is_made_again_with_its_whole_request",
            "what_no_policy_names_or_the_server_forbids_or_was_not_kept_is_made_once",
        ],
    ),
    // Configuration.
    (
        "bad input is told in one line with cause and cure, and has its exit code",
        &[
            "bad_input_is_told_in_one_line_with_its_exit_code",
            "a_gateway_that_is_none_is_told_in_one_line",
        ],
    ),
    (
        "the command line counts more than the environment, and that more than the file",
        &[
            "the_environment_counts_more_than_the_file",
            "the_command_line_counts_more_than_everything",
        ],
    ),
    (
        "what `init` writes works, and what is there is not overwritten",
        &["what_init_writes_is_good_and_is_not_written_twice"],
    ),
];

const SOURCES: &[&str] = &[
    include_str!("../bad_input.rs"),
    include_str!("../configured.rs"),
    include_str!("../retried.rs"),
    include_str!("../words.rs"),
    include_str!("breaking.rs"),
    include_str!("certificates.rs"),
    include_str!("forward.rs"),
    include_str!("handshakes.rs"),
    include_str!("limits.rs"),
    include_str!("names.rs"),
    include_str!("rotation.rs"),
    include_str!("smuggling.rs"),
    include_str!("tokens.rs"),
];

#[test]
fn every_promise_has_tests_that_are_there() {
    for (promise, tests) in PROMISES {
        assert!(!tests.is_empty(), "{promise}");
        for test in *tests {
            let begins = format!("#[tokio::test]\nasync fn {test}(");
            let is_there = SOURCES.iter().any(|source| source.contains(&begins));
            assert!(is_there, "{promise}: there is no test {test}");
        }
    }
}
