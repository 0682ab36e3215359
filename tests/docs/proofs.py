"""How each command of the documentation is run by a test.

A command that no table here knows fails `test_documented_commands.py`, and so does a row that no page needs any more.
"""

from __future__ import annotations

LOCAL = "tests/local"
HERE = (
    "penstock cost --stack prod",
    "penstock cost --stack prod --spot-percent 45 --tokens-per-second qwen3-8b=1200 --utilisation 40",
    "penstock policy deployer --stack prod --json",
    "penstock policy deployer -s prod --json",
    "penstock policy preview --stack prod --json",
    "penstock policy preview -s prod --json",
    "penstock drill list",
    "penstock doctor",
    "penstock migrate --dry-run",
    "penstock upgrade plan --stack prod --from-file",
    "penstock upgrade plan --stack prod --from-file --database 18",
)
"""Run as they stand, without a platform or a network."""

ON_THE_PLATFORM = {
    "README.md": (
        "source .venv/bin/activate",
        'penstock chat "Why do spot nodes need a drain?"',
        "penstock status",
        'eval "$(penstock env)"',
        "python - <<'PYTHON'",
        "penstock release status",
        "pulumi preview -s local",
        "pulumi config -s local",
        "pulumi package get-schema ./components",
        "kubectl get pods -A -o wide",
    ),
    "docs/budgets.md": (
        "penstock budget status",
        'penstock budget set normal --for 12h --reason "the invoice is wrong, ticket 42"',
        "penstock budget clear",
    ),
    "docs/keys.md": (
        "penstock tenant create acme --limit tokens_per_minute=100000",
        'penstock key create "search team" --tenant acme --model tiny --expires 90d --limit usd_per_day=5',
        "penstock key list --tenant acme",
        "penstock key rotate key-0123456789abcdef --overlap-seconds 3600",
        "penstock key revoke key-0123456789abcdef",
        "penstock tenant set acme --disable",
    ),
    "docs/console.md": ("penstock console",),
    "docs/ledger.md": (
        "penstock usage",
        "penstock usage --since 7d --by day,model",
        "penstock usage --by tenant,feature --csv > usage.csv",
    ),
    "docs/load.md": (
        "penstock load --rate 100 --streams 50 --seconds 60",
        "penstock load --workload chat --rate 20 --seconds 60 --report reports/chat",
        "penstock load --workload chat --clients 30 --think-seconds 5",
        "penstock load --workload code --sweep 5,10,20,40 --seconds 30 --report reports/code",
    ),
}
"""Run in this order by tests/local/test_documented_commands.py, each page in one shell."""

SHORTENED = {
    "--rate 100 --streams 50 --seconds 60": "--rate 10 --streams 2 --seconds 2",
    "--rate 20 --seconds 60": "--rate 2 --seconds 2",
    "--clients 30 --think-seconds 5": "--clients 2 --think-seconds 1 --seconds 2",
    "--sweep 5,10,20,40 --seconds 30": "--sweep 1,2 --seconds 2",
}
"""What a test of seconds puts in the place of a load of minutes."""

BY_A_TEST = {
    "make test": ".ci/run",
    "make up": ".ci/run",
    "penstock up": "tests/local/test_hygiene.py::test_a_second_up_changes_nothing",
    "penstock release shift green=50": "tests/local/test_swapping_colours.py",
    "penstock release shift green=100": "tests/local/test_swapping_colours.py",
    "penstock release shift blue=100": "tests/local/test_swapping_colours.py",
    "penstock release shift green=30": "tests/local/test_swapping_colours.py",
    "penstock release stage --engine-image sha256:...": "tests/local/test_releasing.py",
    "penstock release promote": "tests/local/test_releasing.py",
    "penstock release rollback": "tests/local/test_releasing.py",
    "penstock model add qwen3-8b ./Qwen3-8B": "tests/local/test_model_versions.py",
    "penstock model promote qwen3-8b 3f9a12": "tests/local/test_model_versions.py",
    "penstock release stage": "tests/local/test_model_versions.py",
    "penstock model validate qwen3-8b": "tests/local/test_model_versions.py",
    "make review STACK=prod BASE=main": "tests/unit/ops/test_ci_step_by_step.py",
    "make lint-workflows": "tests/unit/ops/test_ci_workflows.py::test_actionlint_and_zizmor_find_nothing",
    "make golden-check": "tests/unit/ops/test_ci_step_by_step.py",
    "make rehearse STACK=dev": "tests/contracts/test_rehearsals.py",
    "make sbom package": "tests/unit/ops/test_ci_step_by_step.py",
    "make scan": "tests/contracts/test_outside_scan.py::test_checkov_finds_nothing_unexplained",
    "penstock drill engine-crash": "tests/local/test_drills.py",
    "penstock drill zone-loss --rate 50 --streams 20 --seconds 30": "tests/local/test_drills.py",
    "make drills": "tests/local/test_drills.py",
    "curl $URL/v1/feedback": "tests/gateway/test_feedback.py",
    "curl $GATEWAY/v1/retrieval/ingest": "tests/retrieval",
    "curl $GATEWAY/v1/retrieval/search": "tests/retrieval",
    "curl $GATEWAY/v1/retrieval/chat/completions": "tests/retrieval",
    "python -m app.gateway.database migrate": "tests/gateway/test_ledger_database.py",
    "python -m app.gateway.intent": "tests/gateway/test_intents.py",
    "python -m infra.ops.evaluate.similarity": "tests/unit/ops/test_similarity.py",
    "penstock rehearse prod": "tests/contracts/test_rehearsals.py",
    "penstock rehearse dev --upgrade-from 1.35": "tests/contracts/test_rehearsals.py",
    "penstock rehearse prod --upgrade-from 1.35": "tests/contracts/test_rehearsals.py",
    "penstock upgrade plan": "tests/unit/ops/test_upgrade_plan.py",
    "penstock rehearse prod --keep": "tests/unit/ops",
    "penstock rehearse prod --end": "tests/unit/ops",
    "penstock rehearse prod --json": "tests/contracts/test_rehearsals.py",
    "penstock rehearse local --move-to eu-south-2": "tests/contracts/test_rehearsals.py",
    "penstock move file": "tests/unit/ops/test_move.py",
    "penstock move data": "tests/unit/ops/test_move.py",
    "penstock move name": "tests/unit/ops/test_move.py",
    "penstock init release": "tests/unit/ops/test_init_boundary.py",
    "penstock preflight --stack prod": "tests/unit/preflight/test_preflight.py::test_the_command_ends_with_the_verdict",
    "penstock preflight --stack prod --json --reservation cr-0123456789abcdef0": "tests/unit/preflight",
    "penstock audit check": (
        "tests/gateway/test_audit_chain.py::test_the_command_ends_with_one_where_the_audit_is_broken"
    ),
    "penstock audit check --head 1041:5b1f...": "tests/gateway/test_audit_chain.py",
    "penstock cost --stack prod --refresh --json": "tests/unit/ops/test_cost.py",
    "penstock diff --base main": "tests/unit/ops/test_ci_step_by_step.py",
    "penstock diff --base main --stack prod --json": "tests/unit/ops/test_ci_step_by_step.py",
    "penstock diff --base main --stack prod --exit-code": "tests/unit/ops/test_diff_report.py",
    "penstock diff --from-preview preview.json --stack prod": (
        "tests/unit/ops/test_diff_report.py::test_a_real_preview_is_reported_on"
    ),
    "penstock provider key anthropic -s prod < key.txt": "tests/unit/ops",
    "penstock provider list -s prod": "tests/unit/ops",
    "penstock migrate": "tests/unit/ops/test_migrate_command.py",
    "penstock diff --base main --stack dev": "tests/unit/ops/test_ci_step_by_step.py",
    "make preview STACK=dev": "tests/unit/ops/test_ci_step_by_step.py",
    "git fetch upstream && git merge v0.1.0": "tests/upgrades/test_upgrades.py",
    "penstock init": "tests/unit/ops/test_init.py",
    "penstock doctor --stack dev --json": "tests/unit/ops/test_doctor.py",
    "npm install": "tests/library/test_library.py",
    "pulumi stack init dev": "tests/library/test_library.py",
    "pulumi config set aws:region eu-central-1": "tests/library/test_library.py",
    "pulumi preview": "tests/library/test_library.py",
}
"""A test elsewhere runs it: by the beginning of the command, the path or the id of that test."""

NEEDS_AN_ACCOUNT = {
    "aws ssm get-parameter": "the AWS CLI is the user's",
    "aws ecr describe-images": "the AWS CLI is the user's",
    "penstock destroy --stack dev": "deletes a deployed stack; every rehearsal does it on the local target",
    "gh attestation verify": "GitHub signs a release",
    "penstock drill zone-loss --stack prod": "breaks a deployed stack; see tests/unit/ops/test_drill_on_aws.py",
    "penstock drill spot-reclaim --stack prod": "breaks a deployed stack; see tests/unit/ops/test_drill_on_aws.py",
    "pulumi preview -s prod --json": "previews a deployed stack; `penstock rehearse` does it on the local target",
}
"""Only read by the command line's parser, with the reason."""
