package io.extauthz.quarkus.runtime;

import io.quarkus.runtime.annotations.ConfigPhase;
import io.quarkus.runtime.annotations.ConfigRoot;
import io.smallrye.config.ConfigMapping;
import io.smallrye.config.WithDefault;

/** The settings that hold when the application is built. */
@ConfigMapping(prefix = "extauthz.build")
@ConfigRoot(phase = ConfigPhase.BUILD_AND_RUN_TIME_FIXED)
public interface ExtauthzBuildConfig {

    /**
     * What a declaration does that cannot be registered.
     *
     * @return the reaction
     */
    @WithDefault("fail")
    Problems problems();

    /**
     * The health check.
     *
     * @return the settings
     */
    HealthConfig health();

    /** The health check, where the application has SmallRye Health. */
    interface HealthConfig {

        /**
         * Whether it is there.
         *
         * @return whether
         */
        @WithDefault("true")
        boolean enabled();
    }

    /** What a declaration does that cannot be registered. */
    enum Problems {
        /** The build fails. */
        FAIL,
        /** The build warns, and the route is not registered. */
        WARN
    }
}
