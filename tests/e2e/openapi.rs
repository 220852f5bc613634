//! The OpenAPI document as it is served, and that each of its operations is exercised here.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use e2e::test::test;
use serde_json::Value;

/// Every operation, and a test that calls it and looks at its success.
const EXERCISED: &[(&str, &str, &str)] = &[
    ("list_regions", "guide.rs", "query_valid_regions"),
    ("check_image", "guide.rs", "check_if_image_exist"),
    ("check_ports", "guide.rs", "host_port_occupation_validation"),
    ("get_order", "guide.rs", "query_order_information"),
    ("deploy_pod", "guide.rs", "pod_deployment_log_and_status"),
    ("get_pod_log", "log.rs", "a_log_is_one_string_and_parameters_choose_its_part"),
    ("follow_pod_logs", "log_stream/basics.rs", "a_stream_is_events_to_the_letter_and_blank_lines"),
    ("get_pod_status", "status.rs", "a_status_is_the_pods_own_with_nothing_renamed_or_dropped"),
    ("get_usage", "monitor.rs", "what_a_pod_uses_is_told_for_each_of_its_containers"),
    ("list_jobs", "job.rs", "jobs_are_listed_newest_first_in_pages"),
    ("get_job", "job.rs", "an_answer_at_once_is_the_job_and_the_job_tells_its_way"),
    ("watch_job", "queue.rs", "a_watched_job_tells_each_change_until_its_end"),
    ("cancel_job", "queue.rs", "a_job_that_has_not_begun_is_cancelled_at_once_and_the_order_is_as_it_was"),
    ("bind_domain", "ingress.rs", "domains_lead_to_the_pod_until_they_are_unbound_and_nothing_is_left"),
    ("update_domains", "ingress.rs", "domains_lead_to_the_pod_until_they_are_unbound_and_nothing_is_left"),
    ("unbind_domains", "ingress.rs", "domains_lead_to_the_pod_until_they_are_unbound_and_nothing_is_left"),
    ("create_order", "order.rs", "an_order_of_a_chosen_id_is_made_once"),
    ("list_orders", "order.rs", "orders_are_listed_newest_first_in_pages_and_filtered"),
    ("get_order_details", "order.rs", "an_operator_sees_an_order_with_its_revisions_jobs_and_ports_but_no_secret"),
    ("get_user_service", "user_service.rs", "a_user_service_tells_where_the_order_stands"),
    ("set_order_description", "user_service.rs", "a_customer_describes_and_labels_an_order"),
    ("set_order_label", "user_service.rs", "a_customer_describes_and_labels_an_order"),
    ("create_deployment", "edit.rs", "a_deployment_is_made_and_shown_without_the_registrys_password"),
    ("update_deployment", "edit.rs", "the_current_body_can_be_deployed_as_it_is"),
    ("get_deployment_info", "edit.rs", "the_current_body_can_be_deployed_as_it_is"),
    ("update_pod", "edit.rs", "environment_and_config_of_named_containers_are_replaced_as_a_new_revision"),
    ("update_pod_images", "edit.rs", "an_image_goes_to_the_container_with_its_repository_on_the_same_port"),
    ("get_pod_configmap", "edit.rs", "environment_and_config_of_named_containers_are_replaced_as_a_new_revision"),
    ("restart_pod", "steps.rs", "a_restart_replaces_the_pod_and_not_the_revision"),
    ("stop_pod", "steps.rs", "a_stopped_order_keeps_its_ports_and_volume_and_starts_as_the_same_revision"),
    ("start_pod", "steps.rs", "a_stopped_order_keeps_its_ports_and_volume_and_starts_as_the_same_revision"),
    ("abort_order", "deploy.rs", "an_aborted_order_leaves_nothing_behind"),
    ("extend_order", "operator.rs", "an_order_is_extended_once_for_each_key"),
    ("replace_secret", "operator.rs", "a_replaced_secret_opens_its_order_until_its_overlap_is_over"),
    ("list_region_details", "operator.rs", "the_regions_are_shown_with_their_workers_clusters_ports_and_queues"),
    ("approve_deletes", "life.rs", "too_many_deletes_at_once_wait_for_an_operators_word"),
];

fn source(file: &str) -> &'static str {
    match file {
        "guide.rs" => include_str!("guide.rs"),
        "log.rs" => include_str!("log.rs"),
        "log_stream/basics.rs" => include_str!("log_stream/basics.rs"),
        "status.rs" => include_str!("status.rs"),
        "monitor.rs" => include_str!("monitor.rs"),
        "job.rs" => include_str!("job.rs"),
        "ingress.rs" => include_str!("ingress.rs"),
        "queue.rs" => include_str!("queue.rs"),
        "order.rs" => include_str!("order.rs"),
        "deploy.rs" => include_str!("deploy.rs"),
        "steps.rs" => include_str!("steps.rs"),
        "edit.rs" => include_str!("edit.rs"),
        "user_service.rs" => include_str!("user_service.rs"),
        "operator.rs" => include_str!("operator.rs"),
        "life.rs" => include_str!("life.rs"),
        _ => "",
    }
}

/// The document's operations: id, method and path, and the operation itself.
fn operations(document: &Value) -> Result<BTreeMap<String, (String, Value)>> {
    let mut found = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for (method, operation) in methods.as_object().context("methods")? {
            let place = format!("{method} {path}");
            let id = operation["operationId"].as_str().with_context(|| format!("{place} has no operationId"))?;
            anyhow::ensure!(found.insert(id.to_owned(), (place, operation.clone())).is_none(), "{id} is there twice");
        }
    }
    Ok(found)
}

#[test]
fn every_operation_is_exercised_by_a_test() -> Result<()> {
    test(async |t| {
        let document = t.client().await?.get("//openapi.json").send().await?.ok()?;
        let served: BTreeSet<String> = operations(&document)?.into_keys().collect();
        let exercised: BTreeSet<String> = EXERCISED.iter().map(|(id, ..)| (*id).to_owned()).collect();
        assert_eq!(served, exercised);
        for &(id, file, name) in EXERCISED {
            assert!(source(file).contains(&format!("fn {name}()")), "{id}: {file} has no test {name}");
        }
        Ok(())
    })
}

#[test]
fn every_operation_tells_what_it_does_and_how_it_fails() -> Result<()> {
    test(async |t| {
        let document = t.client().await?.get("//openapi.json").send().await?.ok()?;
        for (id, (place, operation)) in operations(&document)? {
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 3), "{id} has no summary");
            let answers = operation["responses"].as_object().context("responses")?;
            assert!(answers.keys().any(|status| status.starts_with('2')), "{id}");
            let has = |status: &str| answers.contains_key(status);
            let secured = operation.get("security").is_some();
            assert!(!secured || has("401"), "{id} does not say 401");
            assert!(!place.starts_with("post") || has("400"), "{id} does not say 400");
            for (status, answer) in answers.iter().filter(|(status, _)| !status.starts_with('2')) {
                let schema = answer.pointer("/content/application~1json; charset=utf-8/schema/$ref");
                assert_eq!(schema, Some(&"#/components/schemas/Failure".into()), "{id} {status}: {answer}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_documentation_page_needs_no_outside_host() -> Result<()> {
    test(async |t| {
        let system = t.shared().await?;
        let url = format!("{}/docs", system.apis[0].url);
        let answer = e2e::http::plain()?.get(&url).send().await?;
        assert_eq!(answer.status(), 200);
        let page = answer.text().await?;
        assert!(page.contains("<html") && page.len() > 100_000, "all that it needs is in it");
        for outside in ["src=\"http", "src='http", "href=\"http", "@import url(http"] {
            assert!(!page.contains(outside), "{outside}");
        }
        Ok(())
    })
}
