from runflow.worker.settings import Isolation


def test_a_domain_is_the_run_the_organization_or_all() -> None:
    runs = [("lease-1", "org-1"), ("lease-2", "org-1"), ("lease-3", "org-2")]
    domains = {isolation: [isolation.domain_of(*run) for run in runs] for isolation in Isolation}
    assert domains == {
        Isolation.RUN: ["lease-1", "lease-2", "lease-3"],
        Isolation.ORGANIZATION: ["org-1", "org-1", "org-2"],
        Isolation.WORKER: ["", "", ""],
    }
