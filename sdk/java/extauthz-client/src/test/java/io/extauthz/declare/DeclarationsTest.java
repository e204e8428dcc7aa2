package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.Authentication;
import io.extauthz.client.ResourceSpec;
import io.extauthz.client.Route;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class DeclarationsTest {

    private static final Declaration READ = declaration("invoice:read");
    private static final Declaration WRITE = declaration("invoice:write");

    @Resource(name = "order:read", action = "list", defaultRoles = {"clerk"}, displayName = "Orders",
            authentication = Resource.Authenticate.OPTIONAL, isPublic = Resource.Toggle.FALSE)
    private static final class Annotated { }

    @Resource(name = "order")
    private static final class Plain { }

    static Declaration declaration(String name, String... roles) {
        return new Declaration(name, null, List.of(roles), null, null, null);
    }

    static Endpoint endpoint(String method, String mapping, Declaration declared) {
        String[] parts = mapping.split(" ", 2);
        Set<String> methods = parts[0].equals("*") ? Set.of() : Set.of(parts[0].split(","));
        return new Endpoint("com.acme.Invoices", method, methods, parts[1], declared);
    }

    private static Declared collected(Endpoint... endpoints) {
        return Declarations.collect(List.of(endpoints), "billing", Options.none());
    }

    private static List<String> routes(Declared declared) {
        var found = new ArrayList<String>();
        for (ResourceSpec resource : declared.resources()) {
            for (Route route : resource.routes()) {
                found.add(resource.name() + " " + String.join(",", route.methods()) + " " + route.path());
            }
        }
        return found;
    }

    @Test
    void annotationIsReadAsAValue() {
        assertEquals(
                new Declaration("order:read", "list", List.of("clerk"), "Orders", Authentication.OPTIONAL, false),
                Declaration.of(Annotated.class.getAnnotation(Resource.class)));
    }

    @Test
    void defaultsOfTheAnnotationAllowNoRole() {
        Declaration plain = Declaration.of(Plain.class.getAnnotation(Resource.class));
        assertEquals(List.of(), plain.defaultRoles());
        assertNull(plain.isPublic());
        assertNull(plain.authentication());
        assertEquals("access", plain.effectiveAction());
    }

    @ParameterizedTest
    @CsvSource({"invoice:read, read", "invoice, access", "a:b:c, c", "invoice:, access"})
    void defaultActionIsTheTextAfterTheLastColon(String name, String action) {
        assertEquals(action, declaration(name).effectiveAction());
    }

    @Test
    void endpointsOfOneResourceBecomeItsRoutes() {
        Declared declared = collected(
                endpoint("read", "GET /invoices/{number}", declaration("invoice:read", "finance")),
                endpoint("all", "GET,HEAD /invoices", declaration("invoice:read")),
                endpoint("pay", "POST /invoices/{number}/payments", WRITE));
        assertEquals(
                List.of("invoice:read GET /invoices/{number}", "invoice:read GET /invoices",
                        "invoice:write POST /invoices/{number}/payments"),
                routes(declared));
        assertEquals(List.of("finance"), declared.resources().get(0).defaultRoles());
        assertEquals("billing", declared.resources().get(0).serviceName());
        assertEquals(List.of(), declared.problems());
    }

    @Test
    void methodsOfOnePathAreOneRoute() {
        Declared declared = collected(
                endpoint("read", "GET /invoices/{number}", READ), endpoint("post", "POST /invoices/{id}", READ));
        assertEquals(List.of("invoice:read GET,POST /invoices/{number}"), routes(declared));
    }

    @Test
    void sameActionInOtherWordsIsOneRoute() {
        Declaration spelled = new Declaration("invoice:read", "read", List.of(), null, null, null);
        Declared declared = collected(
                endpoint("read", "GET /invoices", READ), endpoint("json", "GET /invoices", spelled));
        assertEquals(List.of("invoice:read GET /invoices"), routes(declared));
    }

    @Test
    void actionsOfOnePathAreRoutesOfTheirOwn() {
        Declaration delete = new Declaration("invoice", "delete", List.of(), null, null, null);
        Declared declared = collected(
                endpoint("any", "* /invoices", declaration("invoice")), endpoint("delete", "DELETE /invoices", delete));
        // `*` holds for DELETE, too, where the order of the framework is not known.
        assertEquals(2, declared.problems().size());
        assertEquals(List.of(), routes(declared));
    }

    @ParameterizedTest
    @CsvSource({
        "/invoices/{number}, /invoices/{number}",
        "/files/**, /files/**",
        "/files/{*rest}, /files/**",
        "/files/*/pages, /files/{segment2}/pages",
        "/items/{n:[0-9]+}, /items/{n}",
        "/items/{n:\\d{2}}, /items/{n}",
        "/items/{n : .+ }, /items/{n}",
        "/items/{item-id}, /items/{item_id}",
        "/a b/zoë, /a%20b/zo%C3%AB",
        "/a@b/x:y, /a@b/x:y",
        "/**, /**",
        "/, /",
        "/invoices/, /invoices/",
    })
    void pathBecomesTemplate(String path, String template) {
        Declared declared = collected(endpoint("read", "GET " + path, READ));
        assertEquals(List.of("invoice:read GET " + template), routes(declared));
        assertEquals(List.of(), declared.problems());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "/files/{name}.json", "/v{n}", "/*.html", "/a*b", "/a?c", "/**/edit", "/{*rest}/edit", "/files/{a}-{b}",
        "/items/{n:a/b}", "/items//all", "/items/..", "/items/a;b", "/items/%2e%2e", "/items/a\\b", "/items/ a",
        "/items/\uff0e\uff0e", "", "/{unclosed", "/{}x",
    })
    void pathThatNoTemplateExpressesIsOneProblemThatNamesClassAndMethod(String path) {
        Declared declared = collected(endpoint("read", "GET " + path, READ));
        assertEquals(List.of(), declared.resources());
        assertEquals(1, declared.problems().size());
        String message = declared.problems().get(0).message();
        assertTrue(message.startsWith("com.acme.Invoices.read (GET "), message);
        assertTrue(message.contains("'invoice:read'"), message);
        assertFalse(message.contains("\n"), message);
    }

    @Test
    void pathWithMoreSegmentsThanATemplateHasIsAProblem() {
        assertEquals(1, collected(endpoint("read", "GET " + "/a".repeat(65), READ)).problems().size());
        assertEquals(0, collected(endpoint("read", "GET " + "/a".repeat(64), READ)).problems().size());
    }

    @Test
    void undeclaredEndpointIsNotReachedThroughAWiderRoute() {
        Declared declared = collected(
                endpoint("files", "GET /files/**", READ), endpoint("secret", "GET /files/secret", null));
        assertEquals(List.of(), routes(declared));
        assertEquals(
                "com.acme.Invoices.files (GET /files/**) is not registered for 'invoice:read': the mesh would judge"
                        + " GET requests by it that go to com.acme.Invoices.secret (GET /files/secret), which has no"
                        + " @Resource; declare one there, or paths that do not overlap",
                declared.problems().get(0).message());
    }

    @Test
    void unknownOrderOfTheFrameworkLeavesOverlappingRoutesOut() {
        Declared declared = collected(
                endpoint("files", "GET /files/**", READ), endpoint("secret", "GET /files/secret", WRITE));
        assertEquals(List.of(), routes(declared));
        assertEquals(2, declared.problems().size());
    }

    @Test
    void knownOrderOfTheFrameworkKeepsBothRoutes() {
        var options = new Options(null, "", (a, b) -> Integer.compare(b.path().length(), a.path().length()));
        Declared declared = Declarations.collect(
                List.of(endpoint("files", "GET /files/**", READ), endpoint("secret", "GET /files/secret", WRITE)),
                "billing", options);
        assertEquals(List.of("invoice:read GET /files/**", "invoice:write GET /files/secret"), routes(declared));
    }

    @Test
    void regularExpressionsThatSplitOneTemplateLeaveBothOut() {
        Declared declared = collected(
                endpoint("number", "GET /items/{n:[0-9]+}", READ), endpoint("slug", "GET /items/{slug}", WRITE));
        assertEquals(List.of(), routes(declared));
        assertEquals(2, declared.problems().size());
        assertTrue(declared.problems().get(0).message().contains("com.acme.Invoices.slug"));
        assertTrue(declared.problems().get(1).message().contains("com.acme.Invoices.number"));
    }

    @Test
    void conditionalEndpointsThatSplitOneTemplateLeaveBothOut() {
        Declared declared = collected(
                new Endpoint("com.acme.A", "json", Set.of("POST"), "/x", READ, true),
                new Endpoint("com.acme.A", "xml", Set.of("POST"), "/x", WRITE, true));
        assertEquals(List.of(), routes(declared));
        assertEquals(2, declared.problems().size());
    }

    @Test
    void conditionalEndpointsWithOneDeclarationAreOneRoute() {
        Declared declared = collected(
                new Endpoint("com.acme.A", "json", Set.of("POST"), "/x", READ, true),
                new Endpoint("com.acme.A", "xml", Set.of("POST"), "/x", READ, true));
        assertEquals(List.of("invoice:read POST /x"), routes(declared));
    }

    @Test
    void headAloneDoesNotOpenGet() {
        Declared declared = collected(endpoint("head", "HEAD /x", READ), endpoint("get", "GET /x", WRITE));
        assertEquals(List.of(), routes(declared));
    }

    @Test
    void pathInWhateverCaseIsNotReachedThroughAWiderRoute() {
        var endpoints = List.of(
                endpoint("any", "GET /{a}/{b}", READ), endpoint("secret", "GET /files/secret", WRITE));
        Precedence literalFirst = (a, b) -> Integer.compare(
                a.path().length() - a.path().replace("{", "").length(),
                b.path().length() - b.path().replace("{", "").length());
        Declared exact = Declarations.collect(endpoints, "billing", new Options(null, "", literalFirst));
        assertEquals(2, routes(exact).size());
        Declared folded = Declarations.collect(endpoints, "billing", new Options(null, "", literalFirst, true));
        assertEquals(List.of("invoice:write GET /files/secret"), routes(folded));
    }

    @Test
    void hostAndPrefixAreOfEachRoute() {
        Declared declared = Declarations.collect(
                List.of(endpoint("read", "GET /invoices", READ), endpoint("root", "GET ", READ)),
                "billing", new Options("api.example.com", "/billing/", Precedence.UNKNOWN));
        assertEquals(List.of("invoice:read GET /billing/invoices", "invoice:read GET /billing"), routes(declared));
        assertEquals("api.example.com", declared.resources().get(0).routes().get(0).host());
    }

    @Test
    void differentDefaultRolesOfOneResourceKeepTheCommonOnes() {
        Declared declared = collected(
                endpoint("read", "GET /a", declaration("invoice:read", "finance", "audit")),
                endpoint("list", "GET /b", declaration("invoice:read", "audit")));
        assertEquals(List.of("audit"), declared.resources().get(0).defaultRoles());
        assertEquals(
                "com.acme.Invoices.list (GET /b) and com.acme.Invoices.read declare 'invoice:read' with a different"
                        + " defaultRoles; only roles that both name are kept. Write it once, or the same on both",
                declared.problems().get(0).message());
    }

    @Test
    void resourceThatOneEndpointClosesIsNotPublic() {
        Declared declared = collected(
                endpoint("a", "GET /a", new Declaration("terms", null, List.of(), null, null, true)),
                endpoint("b", "GET /b", new Declaration("terms", null, List.of(), null, null, false)));
        assertEquals(false, declared.resources().get(0).isPublic());
        assertEquals(1, declared.problems().size());
    }

    @ParameterizedTest
    @ValueSource(strings = {"", " invoice", "invoice\u200b", "e\u0301t\u00e9", "*"})
    void nameThatTheApiRefusesDoesNotStopTheOthers(String name) {
        Declared declared = collected(
                endpoint("bad", "GET /bad", declaration(name)), endpoint("read", "GET /invoices", READ));
        assertEquals(List.of("invoice:read GET /invoices"), routes(declared));
        assertEquals(1, declared.problems().size());
    }

    @Test
    void resourceWithTooManyRoutesDoesNotStopTheOthers() {
        var endpoints = new ArrayList<Endpoint>();
        for (int i = 0; i < 201; i++) {
            endpoints.add(endpoint("m" + i, "GET /many/" + i, WRITE));
        }
        endpoints.add(endpoint("read", "GET /invoices", READ));
        Declared declared = Declarations.collect(endpoints, "billing", Options.none());
        assertEquals(List.of("invoice:read GET /invoices"), routes(declared));
        assertTrue(declared.problems().get(0).message().contains("has 201 routes"));
    }

    @Test
    void placeInARegistrationNamesClassAndMethod() {
        Declared declared = collected(
                endpoint("read", "GET /invoices/{number}", READ), endpoint("list", "GET /invoices", READ));
        assertEquals("'invoice:read' of com.acme.Invoices.list, path /invoices (path)", declared.origin("/0/routes/1/path"));
        assertEquals("'invoice:read' of com.acme.Invoices.read, com.acme.Invoices.list, /name", declared.origin("/0/name"));
        assertEquals("'invoice:read' of com.acme.Invoices.read, com.acme.Invoices.list", declared.origin("/0"));
        assertEquals("/7/name", declared.origin("/7/name"));
        assertEquals("", declared.origin(""));
    }

    @Test
    void serviceWithoutANameIsRefused() {
        assertThrows(IllegalArgumentException.class,
                () -> Declarations.collect(List.of(), " ", Options.none()));
    }

    @Test
    void fiveHundredEndpointsAreCollectedAtOnce() {
        var endpoints = new ArrayList<Endpoint>();
        for (int i = 0; i < 500; i++) {
            endpoints.add(endpoint("m" + i, "GET /api/v" + i % 10 + "/{a}/things" + i + "/{b}", declaration("r" + i)));
        }
        long before = System.nanoTime();
        Declared declared = Declarations.collect(endpoints, "billing", Options.none());
        assertEquals(500, declared.resources().size());
        assertTrue(System.nanoTime() - before < 5_000_000_000L);
    }
}
