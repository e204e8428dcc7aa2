package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import io.extauthz.declare.Resource;
import io.quarkus.test.QuarkusUnitTest;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import java.util.List;
import org.jboss.shrinkwrap.api.asset.StringAsset;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Builds that end with a message, and what it says. */
class RefusedBuildsTest {

    private static final String SECRET = "sak_live_0123456789abcdef0123456789abcdef";

    /** Each of these cannot be registered. */
    static class Declarations {

        public interface Left {
            @GET
            @Path("left")
            @Resource(name = "left:read")
            String both();
        }

        public interface Right {
            @GET
            @Path("left")
            @Resource(name = "right:read")
            String both();
        }

        @Path("/conflict")
        public static class Both implements Left, Right {
            @Override
            public String both() {
                return "both";
            }
        }

        @Path("/exports")
        public static class Exports {
            @GET
            @Path("{name}.json")
            @Resource(name = "export:read")
            public String suffix() {
                return "suffix";
            }

            @GET
            @Path("{folder: .*}/latest")
            @Resource(name = "export:latest")
            public String middle() {
                return "middle";
            }
        }

        @Path("/twice")
        public static class Twice {
            @GET
            @Path("{id: [0-9]+}")
            @Resource(name = "number:read")
            public String number() {
                return "number";
            }

            @GET
            @Path("{name: [a-z]+}")
            @Resource(name = "name:read")
            public String name() {
                return "name";
            }
        }

        @Path("/wide")
        public static class Wide {
            @GET
            @Path("{rest: .*}")
            @Resource(name = "wide:read")
            public String rest() {
                return "rest";
            }

            @GET
            @Path("closed")
            public String closed() {
                return "closed";
            }
        }

        public static class Forgotten {
            @Resource(name = "forgotten:read")
            public String method() {
                return "no request gets here";
            }
        }

        @Path("/unseen")
        public static class Unseen {
            @Path("below")
            @Resource(name = "unseen:read")
            public Object locate() {
                return this;
            }
        }
    }

    @SafeVarargs
    private static void says(Throwable error, List<String>... wanted) {
        StringBuilder all = new StringBuilder();
        for (Throwable each = error; each != null; each = each.getCause()) {
            all.append(each.getMessage()).append('\n');
        }
        List<String> lines = all.toString().lines().toList();
        for (List<String> parts : wanted) {
            assertTrue(lines.stream().anyMatch(line -> parts.stream().allMatch(line::contains)),
                    "no line says " + parts + ":\n" + all);
        }
        assertFalse(all.toString().contains(SECRET), "the secret is in the message");
    }

    @Nested
    class WithDeclarationsThatTheMeshCannotExpress {

        @RegisterExtension
        static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
                .withApplicationRoot(jar -> jar.addClasses(
                        Declarations.Left.class, Declarations.Right.class, Declarations.Both.class,
                        Declarations.Exports.class, Declarations.Twice.class, Declarations.Wide.class,
                        Declarations.Forgotten.class, Declarations.Unseen.class))
                .assertException(error -> says(error,
                        List.of("Both.both", "'left:read'", "'right:read'", "write @Resource on Both.both"),
                        List.of("Exports.suffix", "{name}.json", "'{name}'"),
                        List.of("Exports.middle", "several segments"),
                        List.of("Twice.number", "Twice.name", "same @Resource"),
                        List.of("Wide.rest", "Wide.closed", "declare one there"),
                        List.of("Forgotten.method", "add @Path"),
                        List.of("Unseen.locate", "return a class with endpoints"),
                        List.of("extauthz.build.problems=warn")));

        @Test
        void theBuildNamesClassMethodAndFix() {
            fail("the application was built");
        }
    }

    @Nested
    class WithASecretInApplicationProperties {

        @RegisterExtension
        static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
                .withEmptyApplication()
                .overrideConfigKey("%prod.extauthz.service-api-key", SECRET)
                .assertException(error -> says(error, List.of(
                        "extauthz.service-api-key", "application.properties", "EXTAUTHZ_SERVICE_API_KEY")));

        @Test
        void theBuildNamesPropertyFileAndVariable() {
            fail("the application was built");
        }
    }

    @Nested
    class WithASecretInApplicationYaml {

        @RegisterExtension
        static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
                .withApplicationRoot(jar -> jar.addAsResource(
                        new StringAsset(
                                "extauthz:\n  client-secret: hunter2-of-the-client\nADMIN_CLIENT_ID: orders\n"),
                        "application.yaml"))
                .assertException(error -> says(error, List.of(
                        "extauthz.client-secret", "application.yaml", "ADMIN_CLIENT_SECRET")));

        @Test
        void theBuildNamesPropertyFileAndVariable() {
            fail("the application was built");
        }
    }
}
