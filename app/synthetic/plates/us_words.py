"""Words on plates of the United States: states, slogans, and personalised texts."""

STATES = (
    "Alabama", "Alaska", "Arizona", "Arkansas", "California", "Colorado", "Connecticut", "Delaware", "Florida",
    "Georgia", "Hawaii", "Idaho", "Illinois", "Indiana", "Iowa", "Kansas", "Kentucky", "Louisiana", "Maine", "Maryland",
    "Massachusetts", "Michigan", "Minnesota", "Mississippi", "Missouri", "Montana", "Nebraska", "Nevada",
    "New Hampshire", "New Jersey", "New Mexico", "New York", "North Carolina", "North Dakota", "Ohio", "Oklahoma",
    "Oregon", "Pennsylvania", "Rhode Island", "South Carolina", "South Dakota", "Tennessee", "Texas", "Utah", "Vermont",
    "Virginia", "Washington", "West Virginia", "Wisconsin", "Wyoming",
)  # fmt: skip
SLOGANS = (
    "Land of Lakes", "The Mountain State", "Wild and Free", "Garden Coast", "THE OLD STATE", "www.state.gov", "COUNTY",
    "Great Rivers", "SUNSHINE", "Pride of the West", "FIRST IN LIBERTY", "Dairy Country", "Green Hills", "OPEN SKIES",
    "In God We Trust", "Big Sky", "Harvest State", "Ocean View", "THE GOLDEN PLAINS", "Discover", "Conserve Wildlife",
    "VETERAN", "UNIVERSITY", "Classic", "Historic", "Support Education", "Firefighter", "Heritage",
)  # fmt: skip
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
VANITY = (
    "GO", "MY", "HI", "THE", "BIG", "FUN", "LUV", "SKI", "SUN", "FLY", "RUN", "CAR", "DAD", "MOM", "JOY", "ICE", "BLU",
    "RED", "FAST", "COOL", "GOLF", "SURF", "LOVE", "MINE", "ZOOM", "BOAT", "SNOW", "WOLF", "KING", "HAWK", "FISH",
    "STAR", "TRUCK", "BEACH", "MUSIC", "DANCE", "HAPPY", "RACER", "QUEEN", "TIGER", "SMILE", "LUCKY", "OCEAN", "ROCK",
    "BIKE", "RIDER", "DREAM", "WINNER", "SUMMER", "FAMILY", "GARDEN", "PILOT", "JAZZ", "VIPER", "EXPRESS", "QUILT",
    "FOX",
)  # fmt: skip
