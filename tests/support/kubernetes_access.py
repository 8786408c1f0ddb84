"""Who may do what in a cluster: the roles that are bound to a service account (RBAC)."""

from __future__ import annotations

from collections.abc import Iterator

from kubernetes_objects import Object, Objects, named


def allowed(
    objects: Objects,
    account: tuple[str, str],
    *,
    verb: str,
    group: str,
    resource: str,
    namespace: str | None,
    name: str | None,
) -> bool:
    """Tell whether a rule bound to an account, given as namespace and name, allows a request."""
    return any(
        _covers(rule, verb, group, resource, name) for rule in _rules(objects, account, namespace)
    )


def _rules(objects: Objects, account: tuple[str, str], namespace: str | None) -> Iterator[Object]:
    """Yield the rules that hold for an account in a namespace, or everywhere."""
    bindings = objects.list(named("ClusterRoleBinding"))[0]
    if namespace:
        bindings += objects.list(named("RoleBinding"), namespace)[0]
    for binding in bindings:
        home = binding["metadata"].get("namespace", "")
        for subject in binding.get("subjects", []):
            whose = (subject.get("namespace", home), subject["name"])
            if subject["kind"] == "ServiceAccount" and whose == account:
                reference = binding["roleRef"]
                role = objects.get(named(reference["kind"]), reference["name"], home)
                yield from (role or {}).get("rules", [])


def _covers(rule: Object, verb: str, group: str, resource: str, name: str | None) -> bool:
    def has(words: list[str], wanted: str) -> bool:
        return wanted in words or "*" in words

    names = rule.get("resourceNames", [])
    return (
        has(rule.get("verbs", []), verb)
        and has(rule.get("apiGroups", []), group)
        and has(rule.get("resources", []), resource)
        and (not names or name in names)
    )
