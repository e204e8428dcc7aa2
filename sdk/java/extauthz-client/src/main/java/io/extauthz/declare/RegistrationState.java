package io.extauthz.declare;

import java.util.List;
import java.util.OptionalLong;

/** How far the registration of an application is. */
public sealed interface RegistrationState
        permits RegistrationState.Pending, RegistrationState.Registered, RegistrationState.Failing {

    /** No attempt has ended yet. */
    record Pending() implements RegistrationState { }

    /**
     * The resources are registered.
     *
     * @param resources the names of the resources
     * @param revision the policy revision that has them; empty where nothing was declared
     */
    record Registered(List<String> resources, OptionalLong revision) implements RegistrationState {

        /** Copies the names. */
        public Registered {
            resources = List.copyOf(resources);
        }
    }

    /**
     * The last attempt failed. The mesh goes on with the routes that were registered before.
     *
     * @param message what failed, and what is to be done
     * @param attempts how many attempts failed
     */
    record Failing(String message, int attempts) implements RegistrationState { }
}
