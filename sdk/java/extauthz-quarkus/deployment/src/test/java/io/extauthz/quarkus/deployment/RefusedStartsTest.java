package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import io.quarkus.test.QuarkusUnitTest;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Applications that are built and do not start, and what they say. */
class RefusedStartsTest {

    @Nested
    class WhereTheRegistrationIsRequiredAndExtauthzIsAway {

        @RegisterExtension
        static final QuarkusUnitTest APPLICATION = ServesWithoutExtauthzTest.application()
                .overrideRuntimeConfigKey("extauthz.registration.required", "true")
                .overrideRuntimeConfigKey("extauthz.registration.timeout", "1s")
                // The first attempt may take longer than that.
                .assertException(error -> assertTrue(
                        messages(error).contains("extauthz cannot be reached")
                                || messages(error).contains("extauthz did not answer the registration within 1 s"),
                        messages(error)));

        @Test
        void theStartNamesTheCause() {
            fail("the application started");
        }
    }

    @Nested
    class WhereSettingsContradictEachOther {

        @RegisterExtension
        static final QuarkusUnitTest APPLICATION = ServesWithoutExtauthzTest.application()
                .overrideRuntimeConfigKey("extauthz.direct-calls", "check")
                .overrideRuntimeConfigKey("extauthz.trust-headers", "true")
                .assertException(error -> assertTrue(
                        messages(error).contains("extauthz.assertion.issuer"), messages(error)));

        @Test
        void theStartNamesThem() {
            fail("the application started");
        }
    }

    private static String messages(Throwable error) {
        return error == null ? "" : error.getMessage() + "\n" + messages(error.getCause());
    }
}
