package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.extauthz.client.Authentication;
import io.extauthz.client.ResourceSpec;
import io.extauthz.client.Route;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;

/** The cases of {@code sdk/conformance/declarations}: endpoints, and the resources that are registered for them. */
class DeclarationCasesTest {

    private static final String SERVICE = "conformance";

    static List<Named<Map<?, ?>>> cases() throws IOException {
        String text = Files.readString(Path.of("..", "..", "conformance", "declarations", "declarations.yaml"));
        var content = (Map<?, ?>) new Load(LoadSettings.builder().build()).loadFromString(text);
        var cases = new ArrayList<Named<Map<?, ?>>>();
        for (Object each : (List<?>) content.get("cases")) {
            var document = (Map<?, ?>) each;
            cases.add(Named.of("declarations: " + document.get("name"), document));
        }
        return cases;
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void declared(Map<?, ?> document) {
        var endpoints = new ArrayList<Endpoint>();
        for (Object each : (List<?>) document.get("endpoints")) {
            var members = (Map<?, ?>) each;
            endpoints.add(new Endpoint(
                    "com.acme.Cases",
                    "endpoint" + endpoints.size(),
                    new LinkedHashSet<>(texts(members.get("methods"))),
                    (String) members.get("path"),
                    members.get("declares") instanceof Map<?, ?> declares ? declaration(declares) : null));
        }
        var options = new Options((String) document.get("host"), (String) document.get("prefix"), Precedence.UNKNOWN);
        Declared found = Declarations.collect(endpoints, SERVICE, options);

        var expected = new TreeMap<String, String>();
        ((List<?>) document.get("resources")).forEach(each -> expected.put(
                (String) ((Map<?, ?>) each).get("name"), resource((Map<?, ?>) each)));
        var registered = new TreeMap<String, String>();
        found.resources().forEach(each -> registered.put(each.name(), resource(each)));
        assertEquals(expected, registered, found.problemText());

        Set<String> reported = new TreeSet<>();
        Pattern.compile("endpoint[0-9]+").matcher(found.problemText()).results().forEach(each -> reported.add(each.group()));
        Set<String> due = new TreeSet<>();
        if (document.get("problems") instanceof List<?> numbers) {
            numbers.forEach(number -> due.add("endpoint" + number));
        }
        assertEquals(due, reported, found.problemText());
    }

    private static Declaration declaration(Map<?, ?> members) {
        String authentication = (String) members.get("authentication");
        return new Declaration(
                (String) members.get("name"),
                (String) members.get("action"),
                texts(members.get("default_roles")),
                (String) members.get("display_name"),
                authentication == null ? null : Authentication.valueOf(authentication.toUpperCase(Locale.ROOT)),
                (Boolean) members.get("public"));
    }

    /** Returns a resource as one text, with its routes by method: how they are grouped is the SDK's. */
    private static String resource(Map<?, ?> members) {
        Set<String> routes = new TreeSet<>();
        for (Object each : (List<?>) members.get("routes")) {
            var route = (Map<?, ?>) each;
            String authentication = (String) route.get("authentication");
            texts(route.get("methods")).forEach(method -> routes.add(route(
                    method, route.get("host"), (String) route.get("path"), route.get("action"), authentication)));
        }
        return shown(SERVICE, members.get("display_name"), texts(members.get("default_roles")), members.get("public"), routes);
    }

    private static String resource(ResourceSpec spec) {
        Set<String> routes = new TreeSet<>();
        for (Route route : spec.routes()) {
            String authentication = route.authentication() == null ? null : route.authentication().word();
            route.methods().forEach(method ->
                    routes.add(route(method, route.host(), route.path(), route.action(), authentication)));
        }
        return shown(spec.serviceName(), spec.displayName(), spec.defaultRoles(), spec.isPublic(), routes);
    }

    private static String route(String method, Object host, String path, Object action, Object authentication) {
        return method + " " + host + path.replaceAll("\\{[^}]*}", "{}") + " " + action + " " + authentication;
    }

    private static String shown(Object service, Object name, List<String> roles, Object isPublic, Set<String> routes) {
        return service + " " + name + " " + new TreeSet<>(roles) + " " + isPublic + " " + routes;
    }

    private static List<String> texts(Object list) {
        var texts = new ArrayList<String>();
        if (list != null) {
            ((List<?>) list).forEach(each -> texts.add((String) each));
        }
        return texts;
    }
}
