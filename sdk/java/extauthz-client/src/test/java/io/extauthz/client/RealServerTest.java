package io.extauthz.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Round trips with a real server; the names of resources start with {@code jc-}, because others ask the demo, too. */
@Timeout(60)
class RealServerTest {

    private static Demo demo;

    @BeforeEach
    void find() throws Exception {
        demo = Demo.running();
    }

    private static ApiException refused(Runnable call, int status) {
        var error = assertThrows(ApiException.class, call::run);
        assertEquals(status, error.status(), error.getMessage());
        return error;
    }

    @Test
    void resourcesAreWrittenAndRead() {
        var invoices = ResourceSpec.builder("jc-invoice:read", "jc-billing")
                .displayName("Invoices")
                .defaultRoles("reporter")
                .route(new Route(List.of("GET"), "/jc/invoices/{number}", "api.example.com", null, null))
                .route("GET", "/jc/invoices")
                .build();
        try (var client = demo.administrator()) {
            ResourceSpec registered = client.register(List.of(invoices)).get(0);
            long revision = client.policyRevision().orElseThrow();
            assertEquals(
                    List.of(
                            new Route(
                                    List.of("GET"),
                                    "/jc/invoices/{number}",
                                    "api.example.com",
                                    "read",
                                    Authentication.REQUIRED),
                            new Route(List.of("GET"), "/jc/invoices", null, "read", Authentication.REQUIRED)),
                    registered.routes());
            assertEquals(List.of("reporter"), registered.defaultRoles());
            assertEquals(List.of(registered), client.register(List.of(invoices)));
            assertEquals(revision, client.policyRevision().orElseThrow());
            assertEquals(List.of(), client.register(List.of()));
            assertEquals(List.of(registered), client.resources("jc-invoice:read", "jc-billing"));
            assertEquals(List.of(), client.resources("jc-invoice:read", "other"));

            client.createRoleRule(new RoleRule("jc-finance", "*", "jc-invoice:read", "read", Effect.ALLOW));
            refused(() -> client.deleteResource(registered.id()), 409);
            client.deleteResource(registered.id(), true);
            assertEquals(List.of(), client.resources("jc-invoice:read", null));
            assertEquals(List.of(), client.roleRules("jc-invoice:read", null, null));
        }
    }

    @Test
    void whatTheWorkloadGetsIsRegisteredAndRead() {
        var wanted = ResourceSpec.builder("jc-order:read", "jc-shop")
                .authorization(Authorization.REMOVE)
                .assertion(false)
                .requireBound(true)
                .headers(Map.of())
                .build();
        try (var client = demo.administrator()) {
            ResourceSpec registered = client.register(List.of(wanted)).get(0);
            assertEquals(Map.of(), registered.headers());
            assertEquals(Authorization.REMOVE, registered.authorization());
            assertEquals(false, registered.assertion());
            assertEquals(true, registered.requireBound());
            ResourceSpec again = client.register(List.of(ResourceSpec.builder("jc-order:read", "jc-shop")
                            .displayName("Orders")
                            .build()))
                    .get(0);
            assertEquals(Authorization.REMOVE, again.authorization());
            assertEquals("Orders", again.displayName());
            ResourceSpec open = client.register(List.of(ResourceSpec.builder("jc-open:read", "jc-shop")
                            .isPublic(true)
                            .build()))
                    .get(0);
            assertEquals(true, open.isPublic());
        }
    }

    @Test
    void listsGoOverEveryPage() {
        List<ResourceSpec> wanted = IntStream.range(0, 501)
                .mapToObj(number -> ResourceSpec.builder("jc-thing-" + number + ":read", "jc-things")
                        .route("GET", "/jc/things-" + number + "/{id}")
                        .build())
                .toList();
        try (var client = demo.administrator()) {
            long began = System.nanoTime();
            client.register(wanted.subList(0, 500));
            System.out.printf("500 endpoints were registered in %d ms%n", (System.nanoTime() - began) / 1_000_000);
            client.register(wanted.subList(500, 501));

            Set<String> names = client.resources(null, "jc-things").stream()
                    .map(ResourceSpec::name)
                    .collect(Collectors.toSet());
            assertEquals(wanted.stream().map(ResourceSpec::name).collect(Collectors.toSet()), names);
        }
    }

    @Test
    void roleRulesAndBindingsAreWrittenAndRead() {
        try (var client = demo.administrator()) {
            RoleRule created =
                    client.createRoleRule(new RoleRule("jc-role", "emea", "jc-bill:read", "read", Effect.ALLOW));
            assertEquals(RuleSubject.ROLE, created.subKind());
            RoleRule other = client.createRoleRule(new RoleRule("jc-mallory", "*", "jc-bill:read", "*", Effect.DENY));
            assertEquals(RuleSubject.ANY, other.subKind());
            assertEquals(List.of(created), client.roleRules("jc-bill:read", "jc-role", "emea"));

            var changed = new RoleRule(
                    created.id(), "jc-role", RuleSubject.ROLE, "emea", "jc-bill:read", "list", Effect.ALLOW);
            assertEquals(changed, client.replaceRoleRule(changed));
            client.deleteRoleRule(other.id());
            assertEquals(List.of(changed), client.roleRules("jc-bill:read", null, null));
            refused(() -> client.deleteRoleRule(other.id()), 404);
            client.deleteRoleRule(changed.id());

            var binding =
                    new RoleBinding(null, "jc-alice", BoundSubject.USER, "jc-role", "emea", "2030-01-01T00:00:00Z");
            RoleBinding bound = client.createRoleBinding(binding);
            assertTrue(bound.expiresAt().startsWith("2030-01-01T00:00:00"), bound.expiresAt());
            assertTrue(client.roleBindings().contains(bound));
            client.deleteRoleBinding(bound.id());
            assertFalse(client.roleBindings().contains(bound));
        }
    }

    @Test
    void attributePoliciesAreWrittenAndRead() {
        Map<String, Object> tree =
                Map.of("type", "CONDITION", "attribute", "resource.owner", "operator", "eq", "value", "alice");
        try (var client = demo.administrator()) {
            AttributePolicy created = client.createAttributePolicy(
                    AttributePolicy.builder("Own ones", "jc-policy:read", Effect.ALLOW, tree)
                            .priority(5)
                            .build());
            assertEquals("*", created.domain());
            assertEquals(tree, created.ruleData());
            assertEquals(
                    List.of("allow_outbids_role_denies"),
                    created.warnings().stream().map(Problem::code).toList());
            assertEquals(List.of(created), client.attributePolicies("jc-policy:read"));

            var wanted = AttributePolicy.builder("Own ones", "jc-policy:read", Effect.DENY, "resource.owner == \"bob\"")
                    .actions("read", "list")
                    .enabled(false)
                    .mode(Mode.SHADOW);
            assertThrows(IllegalArgumentException.class, () -> client.replaceAttributePolicy(wanted.build()));
            AttributePolicy replaced =
                    client.replaceAttributePolicy(wanted.id(created.id()).build());
            assertEquals(Notation.CASBIN, replaced.notation());
            assertEquals("resource.owner == \"bob\"", replaced.ruleData());
            assertEquals(List.of("read", "list"), replaced.actions());
            assertEquals(
                    replaced, client.replaceAttributePolicy(replaced.toBuilder().build()));

            client.deleteAttributePolicy(created.id());
            assertEquals(List.of(), client.attributePolicies("jc-policy:read"));
            assertEquals(replaced, client.restoreAttributePolicy(created.id()));
            client.deleteAttributePolicy(created.id());
        }
    }

    @Test
    void numbersKeepAllTheirDigits() {
        List<Object> numbers = List.of(
                new BigDecimal("0.1000000000000000000000000000000000000001"),
                new BigDecimal("12345678901234567890.5"),
                BigInteger.TEN.pow(40).add(BigInteger.ONE),
                BigInteger.valueOf(Long.MIN_VALUE).subtract(BigInteger.ONE),
                9007199254740993L,
                new BigDecimal("2.5"));
        try (var client = demo.administrator()) {
            for (Object number : numbers) {
                Map<String, Object> tree =
                        Map.of("type", "CONDITION", "attribute", "user.limit", "operator", "lt", "value", number);
                AttributePolicy created = client.createAttributePolicy(
                        AttributePolicy.builder("Below " + number, "jc-number:read", Effect.DENY, tree)
                                .build());
                assertEquals(tree, created.ruleData());
                assertEquals(created, client.replaceAttributePolicy(created));
                assertTrue(client.attributePolicies("jc-number:read").contains(created));
            }
        }
    }

    @Test
    void aCallerWithATokenAsksAboutItself() {
        try (var administrator = demo.administrator();
                var reporting = ExtauthzClient.builder(demo.url(), demo.client("reporting"))
                        .build()) {
            administrator.register(List.of(ResourceSpec.builder("jc-report:read", "jc-reports")
                    .defaultRoles("reporter")
                    .route("GET", "/jc/reports/{owner}")
                    .build()));
            AttributePolicy sealed = administrator.createAttributePolicy(AttributePolicy.builder(
                            "Sealed",
                            "jc-report:read",
                            Effect.DENY,
                            Map.of(
                                    "type",
                                    "CONDITION",
                                    "attribute",
                                    "resource.owner",
                                    "operator",
                                    "eq",
                                    "value",
                                    "alice"))
                    .build());
            long now = administrator.policyRevision().orElseThrow();

            CheckResult allowed = reporting.check(CheckRequest.builder("jc-report:read", "read")
                    .minRevision(now)
                    .build());
            assertTrue(allowed.allowed());
            assertTrue(allowed.policyRevision() >= now);
            CheckResult denied = reporting.check(CheckRequest.builder("jc-report:read", "read")
                    .subject("reporting")
                    .attributes("resource", Map.of("owner", "alice"))
                    .minRevision(now)
                    .build());
            assertFalse(denied.allowed());
            assertEquals(sealed.id(), denied.matchedRuleId());
            CheckResult nothing = reporting.check(
                    CheckRequest.builder("jc-report:read", "write").build());
            assertEquals("no_matching_rule", nothing.reason());
            assertNull(nothing.matchedRuleId());

            var aboutAnother = CheckRequest.builder("jc-report:read", "read")
                    .subject("alice")
                    .build();
            refused(() -> reporting.check(aboutAnother), 403);
            refused(
                    () -> reporting.register(List.of(
                            ResourceSpec.builder("jc-x:read", "jc-reports").build())),
                    403);
        }
    }

    @Test
    void aServiceKeyDoesWhatItMay() throws Exception {
        ServiceKey writes = demo.serviceKey(Map.of(
                "name",
                "jc-keys",
                "scopes",
                List.of("resources:write"),
                "service_name",
                "jc-keys",
                "prefixes",
                List.of("/jc/keys")));
        var own = ResourceSpec.builder("jc-key:read", "jc-keys")
                .defaultRoles("jc-holder")
                .route("GET", "/jc/keys/{id}")
                .build();
        try (var registrar = ExtauthzClient.builder(demo.url(), writes).build()) {
            List<ResourceSpec> registered = registrar.register(List.of(own));
            assertEquals(registered, registrar.register(List.of(own)));
            var elsewhere = ResourceSpec.builder("jc-user:read", "jc-keys")
                    .route("GET", "/users/{id}")
                    .build();
            refused(() -> registrar.register(List.of(elsewhere)), 403);
            refused(() -> registrar.createRoleRule(new RoleRule("r", "*", "jc-key:read", "read", Effect.ALLOW)), 403);

            try (var asker = ExtauthzClient.builder(
                            demo.url(), demo.serviceKey(Map.of("name", "jc-asker", "scopes", List.of("check"))))
                    .build()) {
                var question = CheckRequest.builder("jc-key:read", "read").subject("jc-carol", SubjectKind.USER);
                question.minRevision(registrar.policyRevision().orElseThrow());
                assertFalse(asker.check(question.build()).allowed());
                question.attributes("user", Map.of("roles", List.of("jc-holder")));
                assertTrue(asker.check(question.build()).allowed());
            }
        }
        try (var unknown = ExtauthzClient.builder(demo.url(), new ServiceKey("sak_live_unknown"))
                .build()) {
            refused(() -> unknown.register(List.of(own)), 401);
        }
    }

    @Test
    void aRefusalHasEveryProblem() {
        var bad = ResourceSpec.builder("jc-bad:read", "jc-bad")
                .route("get", "no-slash")
                .build();
        var good = ResourceSpec.builder("jc-good:read", "jc-bad").build();
        try (var client = demo.administrator()) {
            var error = refused(() -> client.register(List.of(good, bad)), 422);
            assertEquals(
                    Set.of("/1/routes/0/methods/0", "/1/routes/0/path"),
                    error.errors().stream().map(Problem::pointer).collect(Collectors.toSet()));
            assertEquals(List.of(), client.resources("jc-good:read", null));
        }
    }

    @Test
    void aWrongSecretIsNotTriedAgain() {
        var wrong = ClientCredentials.builder(demo.fact("issuer"), "operations")
                .secret("wrong: secret")
                .build();
        try (var client = ExtauthzClient.builder(demo.url(), wrong).build()) {
            var error = assertThrows(ExtauthzException.class, client::roleRules);
            assertEquals(ExtauthzException.class, error.getClass());
            assertTrue(error.getMessage().contains("answered 401 'invalid_client'"), error.getMessage());
            assertFalse(error.getMessage().contains("wrong: secret"), error.getMessage());
        }
    }

    @Test
    void theMeshEnforcesWhatWasRegistered() throws Exception {
        try (var client = demo.administrator()) {
            client.register(List.of(ResourceSpec.builder("jc-mesh:read", "jc-mesh")
                    .defaultRoles("finance")
                    .route("GET", "/jc/mesh/{id}")
                    .build()));
            long deadline = System.nanoTime() + 20_000_000_000L;
            while (asked("/jc/mesh/7", "alice") != 200 && System.nanoTime() < deadline) {
                Thread.onSpinWait();
            }
            assertEquals(200, asked("/jc/mesh/7", "alice"));
            assertEquals(403, asked("/jc/mesh/7", "bob"));
            assertEquals(403, asked("/jc/undeclared", "alice"));
        }
    }

    private static int asked(String path, String user) throws Exception {
        var tokens = (Map<?, ?>) demo.facts().get("tokens");
        HttpRequest request = HttpRequest.newBuilder(URI.create(demo.fact("envoy_url") + path))
                .header("Authorization", "Bearer " + tokens.get(user))
                .build();
        return HttpClient.newHttpClient()
                .send(request, HttpResponse.BodyHandlers.discarding())
                .statusCode();
    }
}
