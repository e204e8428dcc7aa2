package io.extauthz.client;

import io.extauthz.client.ConformanceComparison.Failure;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;

/** Calls the client with the arguments of a case, and returns results and errors in the terms of the cases. */
final class ConformanceCalls {

    private ConformanceCalls() {}

    static Credentials credentials(Map<?, ?> document) {
        if (document.get("service_key") instanceof String key) {
            return new ServiceKey(key);
        }
        if (document.get("environment") instanceof Map<?, ?> variables) {
            return Credentials.fromEnvironment(texts(variables));
        }
        Map<?, ?> members = ConformanceCases.object(document, "client_credentials");
        var builder = ClientCredentials.builder(text(members, "issuer"), text(members, "client_id"));
        if (members.containsKey("client_secret")) {
            builder.secret(text(members, "client_secret"));
        }
        if (members.containsKey("key_file")) {
            builder.keyFile(Path.of(text(members, "key_file")));
        }
        if (members.containsKey("method")) {
            builder.method(word(ClientAuthentication.class, members, "method"));
        }
        for (Object resource : members.get("resource") instanceof List<?> list ? list : List.of()) {
            builder.resource((String) resource);
        }
        return builder.keyId(text(members, "key_id"))
                .scope(text(members, "scope"))
                .audience(text(members, "audience"))
                .build();
    }

    static ExtauthzClient.Builder client(String url, Map<?, ?> options, Credentials credentials) {
        var builder = ExtauthzClient.builder(URI.create(url), credentials);
        if (options.get("attempts") instanceof Number attempts) {
            builder.attempts(attempts.intValue());
        }
        if (options.get("timeout") instanceof Number seconds) {
            builder.timeout(Duration.ofMillis(
                    ConformanceComparison.exact(seconds).multiply(BigDecimal.valueOf(1000)).longValueExact()));
        }
        return builder;
    }

    /** Makes a call and returns its result. */
    static Object called(ExtauthzClient client, String operation, Map<?, ?> with) {
        switch (operation) {
            case "construct" -> {
                return null;
            }
            case "register" -> {
                return neutral(client.register(ConformanceCases.objects(with.get("resources")).stream()
                        .map(ConformanceCalls::resource)
                        .toList()));
            }
            case "resources" -> {
                return neutral(client.resources(text(with, "name"), text(with, "service_name")));
            }
            case "delete_resource" -> {
                client.deleteResource(text(with, "resource_id"), with.get("cascade") == Boolean.TRUE);
                return null;
            }
            case "role_rules" -> {
                return neutral(client.roleRules(text(with, "obj"), text(with, "sub"), text(with, "dom")));
            }
            case "create_role_rule" -> {
                return neutral(client.createRoleRule(rule(with)));
            }
            case "replace_role_rule" -> {
                return neutral(client.replaceRoleRule(rule(with)));
            }
            case "delete_role_rule" -> {
                client.deleteRoleRule(text(with, "rule_id"));
                return null;
            }
            case "role_bindings" -> {
                return neutral(client.roleBindings());
            }
            case "create_role_binding" -> {
                return neutral(client.createRoleBinding(binding(ConformanceCases.object(with, "binding"))));
            }
            case "delete_role_binding" -> {
                client.deleteRoleBinding(text(with, "binding_id"));
                return null;
            }
            case "attribute_policies" -> {
                return neutral(client.attributePolicies(text(with, "resource")));
            }
            case "create_attribute_policy" -> {
                return neutral(client.createAttributePolicy(policy(with)));
            }
            case "replace_attribute_policy" -> {
                return neutral(client.replaceAttributePolicy(policy(with)));
            }
            case "delete_attribute_policy" -> {
                client.deleteAttributePolicy(text(with, "policy_id"));
                return null;
            }
            case "restore_attribute_policy" -> {
                return neutral(client.restoreAttributePolicy(text(with, "policy_id")));
            }
            case "check" -> {
                return neutral(client.check(question(with)));
            }
            default -> throw new AssertionError(operation);
        }
    }

    private static ResourceSpec resource(Map<?, ?> members) {
        List<Route> routes = ConformanceCases.objects(members.get("routes")).stream()
                .map(each -> new Route(
                        list(each.get("methods")),
                        text(each, "path"),
                        text(each, "host"),
                        text(each, "action"),
                        word(Authentication.class, each, "authentication")))
                .toList();
        return new ResourceSpec(
                text(members, "id"),
                text(members, "name"),
                text(members, "service_name"),
                text(members, "display_name"),
                list(members.get("default_roles")),
                routes,
                (Boolean) members.get("public"),
                members.get("headers") instanceof Map<?, ?> headers ? texts(headers) : null,
                word(Authorization.class, members, "authorization"),
                (Boolean) members.get("assertion"),
                (Boolean) members.get("require_bound"));
    }

    private static RoleRule rule(Map<?, ?> with) {
        Map<?, ?> members = ConformanceCases.object(with, "rule");
        return new RoleRule(
                text(members, "id"),
                text(members, "sub"),
                word(RuleSubject.class, members, "sub_kind"),
                text(members, "dom"),
                text(members, "obj"),
                text(members, "act"),
                word(Effect.class, members, "effect"));
    }

    private static RoleBinding binding(Map<?, ?> members) {
        return new RoleBinding(
                text(members, "id"),
                text(members, "user"),
                word(BoundSubject.class, members, "user_kind"),
                text(members, "role"),
                text(members, "dom"),
                text(members, "expires_at"));
    }

    private static AttributePolicy policy(Map<?, ?> with) {
        Map<?, ?> members = ConformanceCases.object(with, "policy");
        Notation notation = word(Notation.class, members, "format");
        Mode mode = word(Mode.class, members, "mode");
        return new AttributePolicy(
                text(members, "id"),
                text(members, "name"),
                text(members, "resource"),
                members.containsKey("actions") ? list(members.get("actions")) : List.of("*"),
                text(members, "domain"),
                word(Effect.class, members, "effect"),
                members.get("priority") instanceof Number priority ? priority.longValue() : 0,
                members.get("enabled") != Boolean.FALSE,
                mode == null ? Mode.ENFORCE : mode,
                notation == null ? Notation.JSON : notation,
                members.get("rule_data"),
                List.of());
    }

    private static CheckRequest question(Map<?, ?> with) {
        Map<String, Map<String, ?>> attributes = null;
        if (with.get("attributes") instanceof Map<?, ?> sides) {
            attributes = new LinkedHashMap<>();
            for (Map.Entry<?, ?> side : sides.entrySet()) {
                attributes.put((String) side.getKey(), Members.object((Map<?, ?>) side.getValue()));
            }
        }
        return new CheckRequest(
                text(with, "resource"),
                text(with, "action"),
                text(with, "subject"),
                word(SubjectKind.class, with, "subject_kind"),
                text(with, "domain"),
                attributes,
                with.get("min_revision") instanceof Number revision ? revision.longValue() : null);
    }

    private static String text(Map<?, ?> members, String name) {
        return (String) members.get(name);
    }

    private static <E extends Enum<E>> E word(Class<E> words, Map<?, ?> members, String name) {
        return members.get(name) == null ? null : Enum.valueOf(words, text(members, name).toUpperCase(Locale.ROOT));
    }

    private static List<String> list(Object entries) {
        var texts = new ArrayList<String>();
        if (entries != null) {
            ((List<?>) entries).forEach(each -> texts.add((String) each));
        }
        return texts;
    }

    private static Map<String, String> texts(Map<?, ?> members) {
        var texts = new LinkedHashMap<String, String>();
        members.forEach((name, value) -> texts.put((String) name, (String) value));
        return texts;
    }

    /** Returns a result as the cases have it: objects with the names of the Python classes, lists and scalars. */
    private static Object neutral(Object value) {
        if (value instanceof List<?> entries) {
            return entries.stream().map(ConformanceCalls::neutral).toList();
        }
        var members = new LinkedHashMap<String, Object>();
        if (value instanceof ResourceSpec each) {
            members.put("id", each.id());
            members.put("name", each.name());
            members.put("service_name", each.serviceName());
            members.put("display_name", each.displayName());
            members.put("default_roles", each.defaultRoles());
            members.put("routes", neutral(each.routes()));
            members.put("public", each.isPublic());
            members.put("headers", each.headers());
            members.put("authorization", Words.of(each.authorization()));
            members.put("assertion", each.assertion());
            members.put("require_bound", each.requireBound());
        } else if (value instanceof Route each) {
            members.put("methods", each.methods());
            members.put("path", each.path());
            members.put("host", each.host());
            members.put("action", each.action());
            members.put("authentication", Words.of(each.authentication()));
        } else if (value instanceof RoleRule each) {
            members.put("id", each.id());
            members.put("sub", each.sub());
            members.put("sub_kind", Words.of(each.subKind()));
            members.put("dom", each.dom());
            members.put("obj", each.obj());
            members.put("act", each.act());
            members.put("effect", Words.of(each.effect()));
        } else if (value instanceof RoleBinding each) {
            members.put("id", each.id());
            members.put("user", each.user());
            members.put("user_kind", Words.of(each.userKind()));
            members.put("role", each.role());
            members.put("dom", each.dom());
            members.put("expires_at", each.expiresAt());
        } else if (value instanceof AttributePolicy each) {
            members.put("id", each.id());
            members.put("name", each.name());
            members.put("resource", each.resource());
            members.put("actions", each.actions());
            members.put("domain", each.domain());
            members.put("effect", Words.of(each.effect()));
            members.put("priority", each.priority());
            members.put("enabled", each.enabled());
            members.put("mode", Words.of(each.mode()));
            members.put("format", Words.of(each.notation()));
            members.put("rule_data", each.ruleData());
            members.put("warnings", each.warnings().stream().map(ConformanceCalls::problem).toList());
        } else if (value instanceof CheckResult each) {
            members.put("allowed", each.allowed());
            members.put("reason", each.reason());
            members.put("matched_rule_id", each.matchedRuleId());
            members.put("decision_id", each.decisionId());
            members.put("policy_revision", each.policyRevision());
            members.put("message", each.message());
        } else {
            throw new AssertionError(String.valueOf(value));
        }
        return members;
    }

    private static Map<String, Object> problem(Problem problem) {
        var members = new LinkedHashMap<String, Object>();
        members.put("code", problem.code());
        members.put("pointer", problem.pointer());
        members.put("parameter", problem.parameter());
        members.put("line", problem.line());
        members.put("message", problem.message().isEmpty() ? null : problem.message());
        members.values().removeIf(Objects::isNull);
        return members;
    }

    static Failure failure(RuntimeException error) {
        var members = new LinkedHashMap<String, Object>();
        String kind;
        if (error instanceof ApiException refusal) {
            kind = "api";
            members.put("status", refusal.status());
            members.put("title", refusal.title());
            members.put("detail", refusal.detail());
            members.put("reason", refusal.reason());
            members.put("retry_after", refusal.retryAfterSeconds().isPresent() ? refusal.retryAfterSeconds().getAsDouble() : null);
            members.put("errors", refusal.errors().stream().map(ConformanceCalls::problem).peek(each -> each.remove("code")).toList());
        } else if (error instanceof UnreachableException) {
            kind = "unreachable";
        } else if (error instanceof UnexpectedAnswerException) {
            kind = "unexpected";
        } else if (error instanceof ExtauthzException) {
            kind = "client";
        } else if (error instanceof IllegalArgumentException) {
            kind = "argument";
        } else {
            throw error;
        }
        return new Failure(kind, String.valueOf(error.getMessage()), members);
    }

    /** Returns the text of an error and of its causes. */
    static String trace(Throwable error) {
        var text = new StringWriter();
        error.printStackTrace(new PrintWriter(text));
        return text.toString();
    }
}
