package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class CallerTest {

    @Test
    void nameIsTheSubject() {
        var caller = new Caller("alice", "user", List.of("finance"), "default", null, true);
        assertEquals("alice", caller.getName());
        assertTrue(caller.hasRole("finance"));
        assertFalse(caller.hasRole("admin"));
    }

    @Test
    void unknownRolesAreNoRoles() {
        assertFalse(new Caller("alice", "user", null, "default", null, true).hasRole("finance"));
    }

    @Test
    void onlyAnAnonymousCallerHasNoSubject() {
        assertEquals("anonymous", new Caller(null, "anonymous", List.of(), "default", null, true).getName());
        assertThrows(IllegalArgumentException.class, () -> new Caller(null, "user", List.of(), "default", null, true));
    }
}
