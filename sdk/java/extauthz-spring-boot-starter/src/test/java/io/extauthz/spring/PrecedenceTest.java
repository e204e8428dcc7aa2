package io.extauthz.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ResourceSpec;
import io.extauthz.client.Route;
import io.extauthz.declare.Declared;
import io.extauthz.declare.Resource;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.springframework.mock.web.MockHttpServletRequest;
import org.springframework.web.bind.annotation.RequestMethod;
import org.springframework.web.context.support.StaticWebApplicationContext;
import org.springframework.web.method.HandlerMethod;
import org.springframework.web.servlet.HandlerExecutionChain;
import org.springframework.web.servlet.mvc.method.RequestMappingInfo;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerMapping;
import org.springframework.web.util.ServletRequestPathUtils;

/**
 * Dispatches requests with Spring MVC itself, and compares the declaration of the handler with the decision of
 * the mesh on what is registered.
 */
class PrecedenceTest {

    private static final List<String> SEGMENTS =
            List.of("a", "b", "{x}", "{y}", "{n:a}", "{n:[ab]+}", "*", "a*", "{x}b", "?");
    private static final List<String> ENDS = List.of("", "", "", "", "/**", "/{*rest}", "/", "/*");
    private static final List<String> CONDITIONS = List.of("", "", "", "", "q=1", "consumes", "produces", "header");
    private static final List<List<RequestMethod>> METHODS = List.of(
            List.of(RequestMethod.GET), List.of(RequestMethod.GET), List.of(RequestMethod.POST), List.of(),
            List.of(RequestMethod.GET, RequestMethod.POST), List.of(RequestMethod.HEAD));
    private static final List<MockHttpServletRequest> REQUESTS = requests();

    /** Handlers with different declarations. */
    static class Handlers {

        @Resource(name = "r")
        public void first() { }

        @Resource(name = "r", action = "act")
        public void second() { }

        @Resource(name = "s")
        public void third() { }

        public void undeclared() { }
    }

    @Test
    void whatTheMeshJudgesIsWhatSpringDispatches() throws Exception {
        var random = new Random(20260104);
        int judged = 0;
        int routes = 0;
        for (int world = 0; world < 400; world++) {
            RequestMappingHandlerMapping mapping = mapping(random);
            Declared declared = new MvcEndpoints(List.of(mapping), List.of(), new HandlerDeclarations()).declared("s", null, "");
            routes += declared.resources().stream().mapToInt(each -> each.routes().size()).sum();
            for (MockHttpServletRequest request : REQUESTS) {
                String decision = judged(declared, request.getMethod(), request.getRequestURI());
                if (decision == null) {
                    continue;
                }
                String dispatched = dispatched(mapping, request);
                if (dispatched != null) {
                    judged++;
                    assertEquals(dispatched, decision, request.getMethod() + " " + request.getRequestURI() + " "
                            + Map.copyOf(mapping.getHandlerMethods()) + " as " + declared.resources());
                }
            }
        }
        assertTrue(judged > 1000 && routes > 300, judged + " requests are judged, with " + routes + " routes");
    }

    private static RequestMappingHandlerMapping mapping(Random random) throws NoSuchMethodException {
        var context = new StaticWebApplicationContext();
        var mapping = new RequestMappingHandlerMapping();
        mapping.setApplicationContext(context);
        mapping.afterPropertiesSet();
        var handlers = new Handlers();
        var methods = List.of("first", "second", "third", "undeclared");
        int count = 2 + random.nextInt(4);
        for (int i = 0; i < count; i++) {
            Method method = Handlers.class.getMethod(methods.get(random.nextInt(methods.size())));
            RequestMappingInfo.Builder info = RequestMappingInfo
                    .paths(random.nextInt(5) == 0 ? new String[] {path(random), path(random)} : new String[] {path(random)})
                    .methods(METHODS.get(random.nextInt(METHODS.size())).toArray(RequestMethod[]::new))
                    .options(mapping.getBuilderConfiguration());
            switch (CONDITIONS.get(random.nextInt(CONDITIONS.size()))) {
                case "q=1" -> info.params("q=1");
                case "consumes" -> info.consumes("application/json");
                case "produces" -> info.produces("application/json");
                case "header" -> info.headers("x-version=2");
                default -> { }
            }
            try {
                mapping.registerMapping(info.build(), handlers, method);
            } catch (IllegalStateException ambiguous) {
                // Spring MVC refuses two handlers for one mapping at start.
                continue;
            }
        }
        return mapping;
    }

    private static String path(Random random) {
        var path = new StringBuilder();
        int length = random.nextInt(3);
        var used = new ArrayList<String>();
        for (int j = 0; j <= length; j++) {
            String segment = SEGMENTS.get(random.nextInt(SEGMENTS.size()));
            path.append('/').append(segment.contains("{") && used.contains(segment.substring(0, 2)) ? "a" : segment);
            used.add(segment.substring(0, Math.min(2, segment.length())));
        }
        return path.append(ENDS.get(random.nextInt(ENDS.size()))).toString();
    }

    /** Returns resource and action of the handler, "none" without a declaration; null where no handler gets it. */
    private static String dispatched(RequestMappingHandlerMapping mapping, MockHttpServletRequest request) {
        try {
            ServletRequestPathUtils.parseAndCache(request);
            HandlerExecutionChain chain = mapping.getHandler(request);
            if (chain == null || !(chain.getHandler() instanceof HandlerMethod handler)
                    || handler.getBeanType() != Handlers.class) {
                return null;
            }
            Resource resource = handler.getMethodAnnotation(Resource.class);
            return resource == null ? "none" : resource.name() + " " + resource.action();
        } catch (Exception refused) {
            // Ambiguous, or another method or media type: an error, and no handler gets it.
            return null;
        } finally {
            for (String name : java.util.Collections.list(request.getAttributeNames())) {
                request.removeAttribute(name);
            }
        }
    }

    /** The mesh, as plainly as possible: HEAD is GET; the best template decides, then the method. */
    private static String judged(Declared declared, String asked, String path) {
        String method = asked.equals("HEAD") ? "GET" : asked;
        String best = null;
        for (ResourceSpec resource : declared.resources()) {
            for (Route route : resource.routes()) {
                if (pattern(route.path()).matcher(path).matches()
                        && (best == null || rank(route.path()).compareTo(rank(best)) < 0)) {
                    best = route.path();
                }
            }
        }
        String found = null;
        for (ResourceSpec resource : declared.resources()) {
            for (Route route : resource.routes()) {
                if (best != null && shape(route.path()).equals(shape(best))) {
                    String own = resource.name() + " " + (route.action() == null ? "" : route.action());
                    if (route.methods().contains(method)) {
                        return own;
                    }
                    found = route.methods().contains("*") ? own : found;
                }
            }
        }
        return found;
    }

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

    private static Pattern pattern(String template) {
        boolean rest = template.endsWith("/**");
        String body = rest ? template.substring(0, template.length() - 3) : template;
        return Pattern.compile(body.replaceAll("\\{[^}]*\\}", "[^/]+") + (rest ? "(/.*)?" : ""));
    }

    private static List<MockHttpServletRequest> requests() {
        var requests = new ArrayList<MockHttpServletRequest>();
        var paths = new ArrayList<String>();
        List<String> names = List.of("a", "b", "ab", "c");
        for (String first : names) {
            paths.addAll(List.of("/" + first, "/" + first + "/"));
            for (String second : names) {
                paths.addAll(List.of("/" + first + "/" + second, "/" + first + "/" + second + "/"));
                paths.add("/" + first + "/" + second + "/a");
                paths.add("/" + first + "/" + second + "/ab/b");
            }
        }
        for (String path : paths) {
            for (String method : List.of("GET", "HEAD", "POST", "PUT")) {
                for (String variant : List.of("", "q", "json", "header")) {
                    var request = new MockHttpServletRequest(method, path);
                    request.addHeader("Accept", variant.equals("json") ? "application/json" : "text/plain");
                    switch (variant) {
                        case "q" -> request.addParameter("q", "1");
                        case "json" -> request.setContentType("application/json");
                        case "header" -> request.addHeader("x-version", "2");
                        default -> { }
                    }
                    requests.add(request);
                }
            }
        }
        return requests;
    }
}
