package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.quarkus.test.QuarkusUnitTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An application that serves only calls of the mesh, and cannot fetch the keys that tell them from others. */
class RejectedCallsTest {

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
            .withApplicationRoot(jar -> jar.addClasses(Answers.class, Guarded.class))
            .overrideRuntimeConfigKey("extauthz.registration.enabled", "false")
            .overrideRuntimeConfigKey("extauthz.direct-calls", "reject")
            .overrideRuntimeConfigKey("extauthz.assertion.issuer", "https://extauthz.test")
            .overrideRuntimeConfigKey("extauthz.assertion.keys-url", "http://127.0.0.1:1/jwks.json");

    @Test
    void noCallIsServed() {
        String header = "eyJ0eXAiOiJhc3NlcnRpb24rand0IiwiYWxnIjoiRVMyNTYiLCJraWQiOiJrIn0"; // typ, alg and kid alone
        for (String path : new String[] {"/guarded/7/blocking", "/guarded/7/event-loop", "/guarded/7/below/3"}) {
            assertEquals(401, Answers.send("GET", path).statusCode(), path);
            assertEquals(401, Answers.send("GET", path, "Authorization", "Bearer abc").statusCode(), path);
            assertEquals(401, Answers.send("GET", path, "x-auth-assertion", "nonsense").statusCode(), path);
            assertEquals(503, Answers.send("GET", path, "x-auth-assertion", header + ".e30.AAAA").statusCode(), path);
        }
    }
}
