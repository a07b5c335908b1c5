//! The tests that every engine behind the traits of `usher-broker` has to pass, as a library.
//!
//! An engine implements [`Engine`], which opens brokers on one store with given [`Limits`], and
//! uses [`conformance!`] to generate a test for each function here. Time is a
//! [`usher_broker::ManualClock`].

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by its name what it checks, and by failing what went wrong"
)]

pub mod backlog;
pub mod dead_letters;
pub mod deliveries;
pub mod documents;
pub mod expiring;
pub mod explaining;
pub mod failures;
mod harness;
pub mod order;
pub mod pacing;
pub mod publishing;
pub mod replay;
pub mod restarts;
pub mod retention;
pub mod schedules;
pub mod side_effects;
pub mod subscriptions;

pub use harness::*;

/// Generates a test for each function of the suite; `$engine` is an expression that makes a new,
/// empty [`Engine`].
#[macro_export]
macro_rules! conformance {
    (@each $engine:expr; $($module:ident :: { $($test:ident),* $(,)? }),* $(,)?) => {
        $($crate::conformance! { @module $engine; $module; $($test),* })*
    };
    (@module $engine:expr; $module:ident; $($test:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let disk = $crate::Disk::new($engine);
                if disk.is_there() {
                    $crate::$module::$test(disk).await;
                }
            }
        )*
    };
    ($engine:expr) => {
        $crate::conformance! { @each $engine;
            publishing::{
                sequences_rise_and_events_are_kept,
                a_repeated_event_gets_the_same_answer,
                too_large_a_batch_is_refused_whole,
                pages_follow_one_another,
                flows_are_found_by_correlation,
                a_watch_is_told_of_matches_and_of_nothing_else,
                watches_are_limited_and_end_with_whoever_waits,
            },
            subscriptions::{
                latest_starts_with_the_next_event_and_earliest_with_the_first,
                only_matching_events_are_delivered,
                a_changed_filter_judges_what_comes,
                what_nobody_took_is_judged_by_the_new_filter,
                what_is_far_behind_is_read_from_the_log_in_order,
                many_that_begin_in_the_log_get_what_is_theirs,
                removal_wakes_takers_and_makes_leases_stale,
                wrong_numbers_are_refused,
                status_tells_lag_and_flight,
            },
            order::{
                deliveries_of_one_key_come_one_after_another,
                a_failing_key_parks_its_own_lane,
                lanes_are_found_again_after_a_restart,
                a_dead_letter_holds_nobody_up_and_comes_back_to_its_lane,
                an_event_without_the_attribute_waits_for_nobody,
                total_order_is_one_after_another,
                a_changed_order_frees_what_waits,
                a_start_is_a_sequence_or_a_time,
            },
            pacing::{
                a_rate_spreads_deliveries,
                retries_count_towards_the_rate,
                what_nobody_leases_does_not_pile_up,
                a_rate_by_key_holds_up_no_other_key,
                only_the_newest_is_delivered,
                each_key_has_its_newest,
                events_without_end_delay_nothing_for_long,
                a_failure_gives_way_to_what_is_newer,
                what_is_due_gives_way_until_there_is_room,
                one_busy_key_leaves_room_for_others,
                a_restart_delivers_the_newest_at_once,
                a_changed_pace_loses_nothing,
                what_makes_no_pace_is_refused,
                paced_deliveries_keep_to_their_state,
            },
            deliveries::{
                a_call_is_made_when_something_is_ready,
                never_more_than_max_in_flight,
                a_released_delivery_comes_again_as_the_same_attempt,
                settling_twice_is_stale,
                a_dropped_lease_call_takes_nothing,
                emissions_make_a_flow,
                a_delayed_emission_waits,
                no_plugin_takes_the_room_for_timers_of_others,
                the_share_of_timers_is_counted_again_after_a_restart,
                a_flow_that_goes_in_circles_ends,
            },
            explaining::{
                an_event_may_be_none_of_a_subscriptions_own,
                a_delivery_is_followed_from_log_to_end,
                rounds_are_told_apart,
                order_names_what_a_delivery_waits_for,
                a_changed_filter_is_told,
            },
            failures::{
                retries_wait_longer_each_time,
                the_listener_may_ask_for_a_longer_wait,
                a_rate_limit_does_not_count_but_ends,
                no_wait_is_longer_than_a_week,
                each_class_has_its_own_limit_and_waits,
                the_last_attempt_makes_a_dead_letter,
                old_failures_are_given_up,
                a_dead_letter_is_redriven_as_a_replay,
                a_dead_letter_is_discarded_for_good,
                many_attempts_keep_the_first_and_the_newest,
                the_attempts_of_a_redriven_round_are_its_own,
                a_clock_set_back_delays_nothing,
                a_clock_that_jumps_brings_no_storm,
                a_clock_that_is_set_right_keeps_nothing_waiting,
                a_clock_that_is_set_right_between_two_starts_keeps_nothing_waiting,
            },
            dead_letters::{
                they_are_listed_by_what_they_are,
                a_page_ends_and_says_where_to_read_on,
                an_edited_event_reaches_the_dead_letters_subscription_alone,
                an_edited_event_takes_its_place_in_its_lane,
                an_edited_event_must_be_the_dead_letters_own,
                the_routers_own_events_are_for_those_who_ask,
                what_operators_did_is_recorded,
                a_dead_letter_is_reported_to_those_who_ask,
            },
            replay::{
                part_of_the_log_comes_again,
                a_replay_goes_on_step_by_step,
                what_is_pending_or_dead_is_left_alone,
                a_replay_survives_a_restart,
                a_replay_reaches_back_before_the_start,
                a_replay_keeps_to_its_lanes,
                a_replay_waits_when_too_much_of_it_is_not_over,
            },
            side_effects::{
                state_is_read_from_snapshots,
                a_changed_read_runs_again,
                a_starved_delivery_runs_alone,
                a_listing_is_a_read,
                buckets_list_their_keys_in_pages,
                blobs_live_as_long_as_someone_keeps_them,
                a_blob_without_content_fails_the_delivery,
                nothing_of_a_failed_delivery_is_left,
                deliveries_in_flight_together_keep_to_the_quota_of_state,
                deliveries_in_flight_together_keep_to_the_quota_of_blobs,
            },
            backlog::{
                who_is_too_far_behind_keeps_producers_out,
                emissions_have_a_reserve_and_then_wait,
                those_who_feed_each_other_drain,
            },
            expiring::{
                what_expires_is_counted_and_the_log_goes_on,
                what_a_listener_has_may_end,
                a_lane_goes_on_behind_what_expired,
                what_was_never_looked_at_expires_too,
                what_was_redriven_does_not_expire,
                what_expires_keeps_nobody_waiting,
            },
            retention::{
                old_events_go_and_new_ones_stay,
                what_is_unsettled_stays,
                a_dead_letter_outlives_its_event,
                too_many_bytes_push_out_the_oldest,
            },
            documents::{
                documents_are_replaced_and_stay,
                a_change_of_documents_is_recorded_with_it,
                too_large_documents_are_refused_whole,
            },
            schedules::{
                each_tick_is_one_event,
                a_tick_never_comes_twice,
                missed_ticks_come_as_the_schedule_says,
                catching_up_has_a_limit,
                schedules_come_change_and_go,
                wrong_schedules_are_refused,
            },
            restarts::{
                what_was_acknowledged_is_there,
                the_duplicates_window_survives,
                the_duplicates_window_ends_with_its_time,
                open_deliveries_come_again_and_settled_ones_do_not,
                retries_go_on_where_they_stopped,
                delays_go_on_where_they_stopped,
                dead_letters_and_their_ids_stay,
                a_subscription_without_its_plugin_keeps_its_place,
                closing_refuses_work_and_keeps_everything,
            },
        }
    };
}
