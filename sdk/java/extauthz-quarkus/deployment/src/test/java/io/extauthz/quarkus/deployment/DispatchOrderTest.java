package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.client.ResourceSpec;
import io.extauthz.client.Route;
import io.extauthz.declare.Declared;
import io.extauthz.declare.Resource;
import io.extauthz.quarkus.runtime.DeclaredEndpoints;
import io.quarkus.test.QuarkusUnitTest;
import jakarta.inject.Inject;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/**
 * The mesh takes the most specific template, Quarkus REST takes one by rules of its own. For each path here,
 * what the mesh would judge is the endpoint that answers, or there is no route and the mesh denies.
 */
class DispatchOrderTest {

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
            .withApplicationRoot(jar -> jar.addClasses(
                    Answers.class, Shops.class, Settings.class, Tenant.class, Deep.class, Wide.class, Under.class))
            .overrideConfigKey("extauthz.build.problems", "warn")
            .overrideConfigKey("extauthz.registration.enabled", "false");

    @Inject
    DeclaredEndpoints endpoints;

    @Path("/shops")
    public static class Shops {
        @GET
        @Path("{a}/items")
        @Resource(name = "a")
        public String a() {
            return "a";
        }

        @GET
        @Path("x/{b}")
        @Resource(name = "b")
        public String b() {
            return "b";
        }

        @GET
        @Path("{c: .*}")
        @Resource(name = "c")
        public String c() {
            return "c";
        }

        @GET
        @Path("{d}")
        @Resource(name = "d")
        public String d() {
            return "d";
        }
    }

    @Path("/{e}/settings")
    public static class Settings {
        @GET
        @Resource(name = "e")
        public String e() {
            return "e";
        }
    }

    @Path("/t")
    public static class Tenant {
        @GET
        @Path("{f}")
        @Resource(name = "f")
        public String f() {
            return "f";
        }
    }

    @Path("/{g}/deep/er")
    public static class Deep {
        @GET
        @Path("{g2}")
        @Resource(name = "g")
        public String g() {
            return "g";
        }
    }

    @Path("/wide")
    public static class Wide {
        @GET
        @Path("{h: .+}")
        @Resource(name = "h")
        public String h() {
            return "h";
        }
    }

    @Path("/wide/{i}/deep")
    public static class Under {
        @GET
        @Path("{i2}")
        @Resource(name = "i")
        public String i() {
            return "i";
        }

        @GET
        @Path("closed")
        public String undeclared() {
            return "undeclared";
        }
    }

    @Test
    void theMeshJudgesAnEndpointOnlyByItsOwnResource() {
        Declared declared = endpoints.declared("shops", null, "");
        List<String> segments = List.of("shops", "x", "items", "t", "settings", "deep", "wide", "closed");
        List<String> paths = new ArrayList<>();
        for (String one : segments) {
            for (String two : segments) {
                paths.add("/" + one + "/" + two);
            }
            for (String base : List.of("/shops/", "/shops/x/", "/t/", "/wide/", "/wide/x/deep/", "/wide/deep/er/",
                    "/x/deep/er/", "/x/settings/")) {
                paths.add(base + one);
                paths.add(base + one + "/");
                paths.add(base + one + "/items");
                paths.add(base + one + "/settings");
            }
        }
        int judged = 0;
        for (String path : paths) {
            String resource = judged(declared, path);
            var answer = Answers.send("GET", path);
            if (resource != null && answer.statusCode() == 200) {
                judged++;
                assertEquals(resource, answer.body(), path);
            }
        }
        assertTrue(judged > 20, "only " + judged + " paths reach a registered endpoint");
    }

    /** Returns the resource that the mesh judges a path by, null for none. */
    private static String judged(Declared declared, String path) {
        String found = null;
        String best = null;
        for (ResourceSpec resource : declared.resources()) {
            for (Route route : resource.routes()) {
                String template = route.path();
                String regex = ("\\Q" + template + "\\E")
                        .replaceAll("\\{[^}]*}", "\\\\E[^/]+\\\\Q")
                        .replace("/**\\E", "\\E(/.*)?\\Q\\E");
                if (Pattern.matches(regex, path) && (best == null || rank(template).compareTo(rank(best)) < 0)) {
                    best = template;
                    found = resource.name();
                }
            }
        }
        return found;
    }

    /** Returns a text that sorts templates as the mesh does: literal, parameter, everything below. */
    private static String rank(String template) {
        StringBuilder rank = new StringBuilder();
        for (String segment : template.substring(1).split("/", -1)) {
            rank.append(segment.equals("**") ? '2' : segment.startsWith("{") ? '1' : '0');
        }
        return rank.toString();
    }
}
