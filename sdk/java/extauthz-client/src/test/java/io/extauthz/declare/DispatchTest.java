package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ResourceSpec;
import io.extauthz.client.Route;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/**
 * Compares, for each request of a small world, the decision of the mesh with the endpoint that gets it. The
 * mesh and the framework are written here a second time, as plainly as possible.
 */
class DispatchTest {

    private static final List<String> SEGMENTS =
            List.of("a", "b", "{x}", "{y}", "{n:a}", "*", "{n:.+}", "a{x}", "{x}b");
    private static final List<String> ENDS = List.of("", "", "", "/**", "/{*rest}", "/");
    private static final List<Set<String>> METHODS =
            List.of(Set.of("GET"), Set.of("POST"), Set.of("GET", "POST"), Set.of(), Set.of("HEAD"));
    private static final List<String> REQUESTED = List.of("GET", "POST", "PUT");
    private static final List<String> PATHS = paths();

    @Test
    void whatTheMeshJudgesIsWhatTheApplicationDoesInAnyOrder() {
        var random = new Random(20260101);
        int judged = 0;
        for (int world = 0; world < 800; world++) {
            judged += compare(endpoints(random), false);
        }
        assertTrue(judged > 1000, "too few requests are judged: " + judged);
    }

    @Test
    void whatTheMeshJudgesIsWhatTheApplicationDoesByItsOrder() {
        var random = new Random(20260102);
        int judged = 0;
        for (int world = 0; world < 800; world++) {
            judged += compare(endpoints(random), true);
        }
        assertTrue(judged > 2000, "too few requests are judged: " + judged);
    }

    @Test
    void endpointsWithOneDeclarationAreAllRegistered() {
        var random = new Random(20260103);
        for (int world = 0; world < 200; world++) {
            List<Endpoint> endpoints = endpoints(random).stream()
                    .map(each -> new Endpoint(each.className(), each.methodName(), each.httpMethods(), each.path(),
                            DeclarationsTest.declaration("r"), each.conditional()))
                    .filter(each -> MappedPath.parse(each.path()).template() != null)
                    .toList();
            Declared declared = Declarations.collect(endpoints, "s", Options.none());
            assertEquals(List.of(), declared.problems());
            for (Endpoint each : endpoints) {
                for (String path : PATHS) {
                    for (String method : REQUESTED) {
                        if (matches(each, method, path)) {
                            assertEquals("r", judgedName(declared, method, path, endpoints), each + " " + path);
                        }
                    }
                }
            }
        }
    }

    /** A method that the best template lacks is denied, as the mesh does not fall back to another template. */
    private static String judgedName(Declared declared, String method, String path, List<Endpoint> endpoints) {
        String judged = judged(declared, method, path);
        boolean shadowed = judged == null && endpoints.stream().anyMatch(each -> matches(each, "GET", path)
                || matches(each, "POST", path));
        return shadowed ? "r" : judged == null ? null : judged.split(" ")[0];
    }

    private static int compare(List<Endpoint> endpoints, boolean ordered) {
        Comparator<Endpoint> order = Comparator
                .<Endpoint>comparingInt(each -> isRest(each.path()) ? 1 : 0)
                .thenComparingInt(each -> each.path().replaceAll("[^{*]", "").length())
                .thenComparingInt(each -> -each.path().replaceAll("\\{[^}]*\\}", "#").length());
        Precedence precedence = ordered ? order::compare : Precedence.UNKNOWN;
        Declared declared = Declarations.collect(endpoints, "s", new Options(null, "", precedence));
        int count = 0;
        for (String path : PATHS) {
            for (String method : REQUESTED) {
                String judged = judged(declared, method, path);
                if (judged == null) {
                    continue;
                }
                List<Endpoint> matching = endpoints.stream().filter(each -> matches(each, method, path)).toList();
                List<Endpoint> surely = matching.stream().filter(each -> !each.conditional()).toList();
                for (Endpoint each : matching) {
                    if (ordered && surely.stream().anyMatch(other -> order.compare(other, each) < 0)) {
                        continue;
                    }
                    count++;
                    String own = each.declared() == null
                            ? null
                            : each.declared().name() + " " + each.declared().effectiveAction();
                    assertEquals(own, judged, method + " " + path + " of " + endpoints + " as " + declared);
                }
            }
        }
        return count;
    }

    /** Returns resource and action of the mesh's decision; null where the request is unmapped. */
    private static String judged(Declared declared, String method, String path) {
        String best = null;
        for (ResourceSpec resource : declared.resources()) {
            for (Route route : resource.routes()) {
                if (templatePattern(route.path()).matcher(path).matches()
                        && (best == null || rank(route.path()).compareTo(rank(best)) < 0)) {
                    best = route.path();
                }
            }
        }
        String found = null;
        for (ResourceSpec resource : declared.resources()) {
            for (Route route : resource.routes()) {
                if (best != null && rank(route.path()).equals(rank(best)) && shape(route.path()).equals(shape(best))) {
                    String own = resource.name() + " " + (route.action() == null ? "access" : route.action());
                    if (route.methods().contains(method)) {
                        return own;
                    }
                    found = route.methods().contains("*") ? own : found;
                }
            }
        }
        return found;
    }

    /** Literals before parameters before the rest, segment by segment; the end goes before the rest. */
    private static String rank(String template) {
        var rank = new StringBuilder();
        for (String segment : template.substring(1).split("/", -1)) {
            rank.append(segment.equals("**") ? 'z' : segment.startsWith("{") ? 'p' : 'l');
        }
        return rank.append(template.endsWith("/**") ? "" : "e").toString();
    }

    private static String shape(String template) {
        return template.replaceAll("\\{[^}]*\\}", "{}");
    }

    private static Pattern templatePattern(String template) {
        boolean rest = template.endsWith("/**");
        String body = rest ? template.substring(0, template.length() - 3) : template;
        return Pattern.compile(body.replaceAll("\\{[^}]*\\}", "[^/]+") + (rest ? "(/.*)?" : ""));
    }

    private static boolean isRest(String path) {
        return path.endsWith("/**") || path.endsWith("/{*rest}");
    }

    private static boolean matches(Endpoint endpoint, String method, String path) {
        if (!endpoint.httpMethods().isEmpty() && !endpoint.httpMethods().contains(method)) {
            return false;
        }
        boolean rest = isRest(endpoint.path());
        String body = rest ? endpoint.path().substring(0, endpoint.path().lastIndexOf('/')) : endpoint.path();
        String regex = body.replace("{n:a}", "a").replaceAll("/\\*(?=/|$)", "/[^/]+").replaceAll("\\{[^}]*\\}", "[^/]+");
        return Pattern.matches(regex + (rest ? "(/.*)?" : ""), path);
    }

    private static List<Endpoint> endpoints(Random random) {
        var endpoints = new ArrayList<Endpoint>();
        int count = 2 + random.nextInt(4);
        for (int i = 0; i < count; i++) {
            var path = new StringBuilder();
            int length = random.nextInt(3);
            for (int j = 0; j <= length; j++) {
                path.append('/').append(SEGMENTS.get(random.nextInt(SEGMENTS.size())));
            }
            path.append(ENDS.get(random.nextInt(ENDS.size())));
            int choice = random.nextInt(4);
            Declaration declared = choice == 0
                    ? null
                    : new Declaration(choice == 1 ? "r" : "s", choice == 3 ? "act" : null, List.of(), null, null, null);
            Set<String> methods = METHODS.get(random.nextInt(METHODS.size()));
            endpoints.add(new Endpoint("C", "m" + i, methods, path.toString(), declared, random.nextInt(6) == 0));
        }
        return endpoints;
    }

    private static List<String> paths() {
        var paths = new ArrayList<String>();
        List<String> names = List.of("a", "b", "c", "ab");
        for (String first : names) {
            paths.add("/" + first);
            paths.add("/" + first + "/");
            for (String second : names) {
                paths.add("/" + first + "/" + second);
                paths.add("/" + first + "/" + second + "/");
                for (String third : names) {
                    paths.add("/" + first + "/" + second + "/" + third);
                }
            }
        }
        return paths;
    }
}
